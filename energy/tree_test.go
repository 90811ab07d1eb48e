package energy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/energy"
	"github.com/rogpeppe/go-internal/txtar"
)

// plant makes a directory tree from a listing in testdata. "name -> target" is
// a symbolic link.
func plant(t testing.TB, listing string) string {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", listing))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, f := range archive.Files {
		name, target, isLink := strings.Cut(f.Name, " -> ")
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if isLink {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, f.Data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Fatal(...any)
}

// put writes a file in a zone's directory.
func put(t failer, root, zone, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, "class/powercap", zone, file), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// makeZone makes a zone as plain directory.
func makeZone(t failer, root, zone, name, value, span string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "class/powercap", zone), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, root, zone, "name", name+"\n")
	put(t, root, zone, "energy_uj", value)
	put(t, root, zone, "max_energy_range_uj", span)
}

func removeZone(t failer, root, zone string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(root, "class/powercap", zone)); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, c energy.Config) (energy.Meter, []string) {
	t.Helper()
	if c.Procfs == "" {
		c.Procfs = filepath.Join("testdata", "none") // no processor to recognise
	}
	m, missing, err := energy.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, missing
}

// at is an activity that says only when.
func at(seconds int) energy.Activity {
	return energy.Activity{At: time.Duration(seconds) * time.Second}
}

func find(readings []energy.Reading, name string, socket int) energy.Reading {
	for _, r := range readings {
		if r.Zone.Name == name && r.Zone.Socket == socket {
			return r
		}
	}
	return energy.Reading{}
}

func zones(readings []energy.Reading) string {
	var s []string
	for _, r := range readings {
		s = append(s, fmt.Sprintf("%s/%d/%s", r.Zone.Name, r.Zone.Socket, r.Zone.Source))
	}
	return strings.Join(s, " ")
}
