package sensor

import (
	"fmt"
	"os"
	"testing"

	"github.com/cam-os/edge/ebpf/cgroup"
)

const mega = 1 << 20

// near: the kernel may count a few pages of file system metadata on the way
// out of a process, after it has read its own account.
func near(got, want uint64) bool { return got >= want && got-want <= mega/4 }

func written(s *Snapshot, id cgroup.ID) uint64 { return s.Cgroups[id].Written }

func TestIOOfTheLivingAndTheDead(t *testing.T) {
	h := hierarchy(t)
	s := kernelSensor(t, Config{})
	dir := diskDir(t)
	l := newLeaf(t, h, "")
	file := fmt.Sprintf("write:%s/f:%d", dir, 4*mega)
	a := start(t, l.dir, file, "io", "wait", file, "io", "wait")
	first := a.wrote()
	if first < 4*mega {
		t.Fatalf("the kernel counted %d bytes for 4 MB", first)
	}
	if got := written(look(t, s), l.id); !near(got, first) {
		t.Errorf("alive: charged %d, itself says %d", got, first)
	}
	a.ready().goOn()
	second := a.wrote()
	a.ready()
	if got := written(look(t, s), l.id); !near(got, second) {
		t.Errorf("alive, later: charged %d, itself says %d", got, second)
	}
	a.goOn().end()
	if got := written(look(t, s), l.id); !near(got, second) {
		t.Errorf("exited: charged %d, itself said %d", got, second)
	}
	// One that lives between two looks only.
	b := start(t, l.dir, file, "io")
	third := b.wrote()
	b.end()
	l.remove(t)
	if got := written(look(t, s), l.id); !near(got, second+third) {
		t.Errorf("between looks: charged %d, they said %d", got, second+third)
	}
}

func TestIOBeforeTheSensorIsNotCounted(t *testing.T) {
	h := hierarchy(t)
	dir := diskDir(t)
	l := newLeaf(t, h, "")
	file := fmt.Sprintf("write:%s/f:%d", dir, 2*mega)
	a := start(t, l.dir, file, file, "io", "wait", file, "io", "wait")
	before := a.wrote()
	a.ready()
	s := kernelSensor(t, Config{})
	if got := written(look(t, s), l.id); got != 0 {
		t.Errorf("charged %d before anything was done", got)
	}
	a.goOn()
	after := a.wrote()
	a.ready()
	if got := written(look(t, s), l.id); !near(got, after-before) {
		t.Errorf("charged %d, want %d", got, after-before)
	}
	a.goOn().end()
	if got := written(look(t, s), l.id); !near(got, after-before) {
		t.Errorf("exited: charged %d, want %d", got, after-before)
	}
}

func TestIOStaysWhereItWasDone(t *testing.T) {
	h := hierarchy(t)
	s := kernelSensor(t, Config{})
	dir := diskDir(t)
	from, to := newLeaf(t, h, ""), newLeaf(t, h, "")
	a := start(t, from.dir, fmt.Sprintf("write:%s/f:%d", dir, 4*mega), "io", "wait",
		fmt.Sprintf("write:%s/g:%d", dir, mega), "io", "wait")
	first := a.wrote()
	a.ready()
	look(t, s)
	if err := h.Move(to.path, a.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	a.goOn()
	second := a.wrote() - first
	a.ready()
	check := func(when string) {
		t.Helper()
		sn := look(t, s)
		if got := written(sn, from.id); !near(got, first) {
			t.Errorf("%s: the old cgroup has %d, want %d", when, got, first)
		}
		if got := written(sn, to.id); !near(got, second) {
			t.Errorf("%s: the new cgroup has %d, want %d", when, got, second)
		}
	}
	check("alive")
	a.goOn().end()
	check("exited")
	check("a look later")
}

func TestReadIsCounted(t *testing.T) {
	h := hierarchy(t)
	s := kernelSensor(t, Config{})
	// The test binary is read from a cold cache only by chance; write, drop the
	// pages of that one file, and read it again.
	dir := diskDir(t)
	l := newLeaf(t, h, "")
	name := dir + "/cold"
	if err := os.WriteFile(name, make([]byte, 2*mega), 0o600); err != nil {
		t.Fatal(err)
	}
	dropPages(t, name)
	a := start(t, l.dir, "read:"+name)
	a.end()
	if got := look(t, s).Cgroups[l.id].Read; got < 2*mega {
		t.Errorf("charged %d of %d bytes read", got, 2*mega)
	}
}
