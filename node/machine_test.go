package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/sensor"
)

// What lies in place of the list of online CPUs may be anything. A list that
// cannot be had counts all CPUs, and nothing waits for it.
func TestOnlineCPUs(t *testing.T) {
	topology := sensor.Topology{Packages: []int{0, 1}, PackageOf: []int{0, 1, 0, 1}}
	text := func(s string) func(string) error {
		return func(file string) error { return os.WriteFile(file, []byte(s), 0o600) }
	}
	for name, c := range map[string]struct {
		make func(file string) error
		want string
	}{
		"list":      {text("0-1,3\n"), "[1 2]"},
		"none":      {func(string) error { return nil }, "[2 2]"},
		"fifo":      {func(file string) error { return unix.Mkfifo(file, 0o600) }, "[2 2]"},
		"directory": {func(file string) error { return os.Mkdir(file, 0o700) }, "[2 2]"},
		"text":      {text("all\n"), "[2 2]"},
		"backwards": {text("3-0\n"), "[2 2]"},
		"no end":    {text("0-\n"), "[2 2]"},
		"far":       {text("0-99999999\n"), "[2 2]"},
		"long":      {text(strings.Repeat("0,", 1<<20) + "0\n"), "[2 2]"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			file := filepath.Join(root, "devices/system/cpu/online")
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := c.make(file); err != nil {
				t.Fatal(err)
			}
			done := make(chan []int, 1)
			go func() { done <- onlineCPUs(root, topology) }()
			select {
			case got := <-done:
				if fmt.Sprint(got) != c.want {
					t.Errorf("%v, want %s", got, c.want)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("held up")
			}
		})
	}
}
