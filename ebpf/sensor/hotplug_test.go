package sensor

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A CPU that is taken away and given back loses nothing and breaks nothing.
func TestHotplug(t *testing.T) {
	if os.Getenv("CAM_LAB_GUEST") == "" {
		t.Skip("takes a CPU away: only in a guest of packaging/lab/kernels")
	}
	h := hierarchy(t)
	s := kernelSensor(t, Config{})
	const online = "/sys/devices/system/cpu/cpu1/online"
	set := func(v string) {
		t.Helper()
		if err := os.WriteFile(online, []byte(v), 0); err != nil {
			t.Fatal(err)
		}
	}
	first := look(t, s)
	l := newLeaf(t, h, "")
	a := start(t, l.dir, "wait", "burn:100ms", "wait", "burn:150ms", "wait").ready()
	var cpu1 unix.CPUSet
	cpu1.Set(1)
	if err := unix.SchedSetaffinity(a.cmd.Process.Pid, &cpu1); err != nil {
		t.Fatal(err)
	}
	a.goOn().ready()
	set("0")
	defer func() { _ = os.WriteFile(online, []byte("1"), 0) }()
	// Before anything looked, CPU 1 took what its slots hold with it.
	away := look(t, s)
	if got := away.Cgroups[l.id].cpu(); got < 50*time.Millisecond {
		t.Errorf("charged %v of 100ms that a CPU did which is away now", got)
	}
	noneWentBack(t, first, away)
	prev := away
	for range 3 {
		time.Sleep(20 * time.Millisecond)
		sn := look(t, s)
		noneWentBack(t, prev, sn)
		prev = sn
	}
	a.goOn().ready() // on CPU 0 now
	set("1")
	for range 5 {
		time.Sleep(20 * time.Millisecond)
		sn := look(t, s)
		noneWentBack(t, prev, sn)
		prev = sn
	}
	if got := prev.Cgroups[l.id].cpu(); got < 100*time.Millisecond {
		t.Errorf("charged %v of 150ms on two CPUs", got)
	}
	conserved(t, first, prev)
	a.goOn().end()
}
