//go:build lab

package lab

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// A state that a newer version wrote is refused by an older one, and nothing of
// it is lost.
func TestDowngrade(t *testing.T) {
	arch := env("CAM_LAB_ARCH", "amd64")
	files := make(map[string]string)
	for name, c := range map[string]*exec.Cmd{
		"old.deb": build(arch, "0.2.0", t.TempDir(), ""),
		"new.deb": build(arch, "0.3.0", t.TempDir(), nextSchema(t)),
	} {
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("packaging/build.sh: %v\n%s", err, out)
		}
		debs, err := filepath.Glob(c.Args[1] + "/*.deb")
		if err != nil || len(debs) != 1 {
			t.Fatalf("want one .deb, found %v", debs)
		}
		files[name] = debs[0]
	}
	testscript.Run(t, testscript.Params{Files: []string{"downgrade.txtar"}, Cmds: commands(device(t, files))})
}

func build(arch, version, dir, overlay string) *exec.Cmd {
	c := exec.Command("../build.sh", dir, arch)
	c.Env = append(os.Environ(), "VERSION="+version, "OVERLAY="+overlay)
	return c
}

// nextSchema is an overlay (go help build) in which the store has one migration
// more, as some future version will.
func nextSchema(t *testing.T) string {
	t.Helper()
	source, err := filepath.Abs("../../store/database.go")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const first = "var migrations = [...]func(tx *bolt.Tx, s *Store) error{\n"
	before, after, ok := strings.Cut(string(code), first)
	list, rest, closed := strings.Cut(after, "\n}\n")
	if !ok || !closed {
		t.Fatalf("%s has changed: tell this test where the migrations end", source)
	}
	dir := t.TempDir()
	patched, overlay := filepath.Join(dir, "database.go"), filepath.Join(dir, "overlay.json")
	future := before + first + list + "\n\tfunc(*bolt.Tx, *Store) error { return nil },\n}\n" + rest
	if err := os.WriteFile(patched, []byte(future), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := json.Marshal(map[string]any{"Replace": map[string]string{source: patched}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, rules, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}
