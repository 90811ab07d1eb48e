package cgroup_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/cam-os/edge/ebpf/cgroup"
)

func TestFollow(t *testing.T) {
	h := open(t)
	p := leaf(t, h)
	f, err := h.Follow(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if id, err := h.ID(p); err != nil || id != f.ID() {
		t.Errorf("id %d, not %d: %v", f.ID(), id, err)
	}
	if populated, err := f.Populated(); populated || err != nil {
		t.Errorf("a new cgroup: %v, %v", populated, err)
	}
	c := sleeper(t)
	if err := h.Move(p, c.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if populated, err := f.Populated(); !populated || err != nil {
		t.Errorf("with a process: %v, %v", populated, err)
	}
	if err := h.Move("/", c.Process.Pid); err != nil {
		t.Fatal(err)
	}
	// Another cgroup in its place is another cgroup.
	if err := h.Remove(p); err != nil {
		t.Fatal(err)
	}
	if err := h.Create(p); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Populated(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed one: %v", err)
	}
	for _, q := range []string{p + "/none", "../.."} {
		if f, err := h.Follow(q); err == nil {
			t.Errorf("%s was opened: %v", q, f.ID() == cgroup.Root)
		}
	}
}
