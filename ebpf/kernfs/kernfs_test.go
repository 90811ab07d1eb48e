package kernfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{"short": "0-1\n", "full": strings.Repeat("x", page), "long": strings.Repeat("x", page+1)} {
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(unix.Mkfifo(at("fifo"), 0o600), os.Mkdir(at("dir"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if data, err := Read(at("short")); err != nil || string(data) != "0-1\n" {
		t.Errorf("%q, %v", data, err)
	}
	if data, err := Read(at("full")); err != nil || len(data) != page {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, err := Read(at("none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	for _, name := range []string{"long", "fifo", "dir"} {
		done := make(chan error, 1)
		go func() {
			_, err := Read(at(name))
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), at(name)) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("held up by %s", name)
		}
	}
}
