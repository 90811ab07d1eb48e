package sensor

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

func TestCloseLeavesNothing(t *testing.T) {
	kernelSensor(t, Config{}) // what the runtime opens once and keeps
	before := descriptors(t)
	for range 2 {
		s, err := openKernel(mustDefaults(t, Config{}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Snapshot(); err != nil {
			t.Fatal(err)
		}
		var ids []ebpf.ProgramID
		for _, p := range s.probes {
			info, err := p.prog.Info()
			if err != nil {
				t.Fatal(err)
			}
			id, ok := info.ID()
			if !ok {
				t.Fatal("a program without an id")
			}
			ids = append(ids, id)
		}
		if len(ids) != 7 {
			t.Fatalf("%d programs", len(ids))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			gone(t, id)
		}
		if err := s.Close(); err != nil {
			t.Errorf("closed again: %v", err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// gone waits for the kernel to free a program, which it does a little later.
func gone(t *testing.T, id ebpf.ProgramID) {
	t.Helper()
	for range 1000 {
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if err == nil {
			_ = p.Close()
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("program %d is still loaded", id)
}

func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

func mustDefaults(t *testing.T, c Config) Config {
	t.Helper()
	c, err := c.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
