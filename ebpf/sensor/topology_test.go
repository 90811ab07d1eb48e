package sensor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A FIFO in place of a CPU's file is refused, not waited for; that CPU counts
// to the first package, and the others to theirs.
func TestTopologyOfFIFO(t *testing.T) {
	name := func(n int) string { return fmt.Sprintf("devices/system/cpu/cpu%d/topology/physical_package_id", n) }
	root := fakeHost(t, map[string]string{name(0): "0\n", name(1): "1\n", name(2): "1\n"})
	file := filepath.Join(root, name(1))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan Topology, 1)
	go func() { done <- readTopology(root, 3) }()
	select {
	case got := <-done:
		if want := "{[0 1] [0 0 1]}"; fmt.Sprint(got) != want {
			t.Errorf("%v, want %s", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("held up by a FIFO")
	}
}
