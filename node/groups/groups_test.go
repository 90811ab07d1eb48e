package groups

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/cgroupfs"
	"github.com/cam-os/edge/node/ledger"
)

// leaves makes cgroups of this test's own on the kernel's tree.
func leaves(t *testing.T, names ...string) (h *cgroup.Hierarchy, members []Member) {
	t.Helper()
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil || os.Geteuid() != 0 {
		t.Skipf("needs root and cgroup2: uid %d, %v", os.Geteuid(), err)
	}
	top := fmt.Sprintf("/cam-test-groups-%d-%d", os.Getpid(), time.Now().UnixNano()%1e9)
	paths := []string{top}
	for _, n := range names {
		paths = append(paths, top+"/"+n)
	}
	for _, p := range paths {
		if err := h.Create(p); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, p := range slices.Backward(paths) {
			for range 100 {
				if h.Remove(p) == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
	for i, n := range names {
		id, err := h.ID(paths[i+1])
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, Member{Agent: n, ID: id, Path: paths[i+1]})
	}
	return h, members
}

func open(t *testing.T, h *cgroup.Hierarchy, cfg Config) *Groups {
	t.Helper()
	g := Open(h, cfg)
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// pinged sends packets to itself over loopback from inside a member.
func pinged(t *testing.T, h *cgroup.Hierarchy, m Member) {
	t.Helper()
	procs, err := h.Dir(m.Path)
	if err != nil {
		t.Fatal(err)
	}
	// The shell moves itself, and then talks to the discard port of nobody.
	c := exec.Command("bash", "-c", `echo $$ >"$0/cgroup.procs" && echo hello >/dev/udp/127.0.0.1/9`, procs)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func find(t *testing.T, l Look, id cgroup.ID) ledger.Group {
	t.Helper()
	for _, g := range l.Groups {
		if g.Cgroup == id {
			return g
		}
	}
	t.Fatalf("no figures of cgroup %d in %+v", id, l.Groups)
	return ledger.Group{}
}

func TestLook(t *testing.T) {
	h, members := leaves(t, "a", "b")
	a, b := members[0], members[1]
	g := open(t, h, Config{Controllers: true, Network: true})
	if !g.Network() {
		t.Fatalf("no network programs: %v", g.Missing())
	}
	look := func(members ...Member) Look {
		t.Helper()
		l, err := g.Look(members)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	look(a, b)
	pinged(t, h, a)
	l := look(a, b)
	if got := find(t, l, a.ID); got.Owner != "a" || got.Counters[ledger.SentPackets] != 1 || got.Counters[ledger.SentBytes] != 20+8+6 {
		t.Errorf("a sent %+v, want a packet of 34 bytes", got)
	}
	if got := find(t, l, b.ID); got.Counters[ledger.SentPackets] != 0 {
		t.Errorf("b sent %+v, want nothing", got)
	}
	if len(g.Probes()) == 0 {
		t.Error("no probes")
	}

	// One that is let go is there a last time, with its last figures.
	pinged(t, h, a)
	if got := find(t, look(b), a.ID); got.Counters[ledger.SentPackets] != 2 {
		t.Errorf("the last of a: %+v, want two packets", got)
	}
	if l := look(b); len(l.Groups) != 1 {
		t.Errorf("a is still there: %+v", l.Groups)
	}

	// A cgroup that vanishes while it is followed keeps its figures.
	pinged(t, h, b)
	if err := h.Remove(b.Path); err != nil {
		t.Fatal(err)
	}
	if got := find(t, look(b), b.ID); got.Counters[ledger.SentPackets] != 1 {
		t.Errorf("the last of b: %+v, want a packet", got)
	}
	// And one that never was has none, and is no error.
	look(Member{Agent: "c", ID: 1 << 40, Path: "/cam-test-nowhere"})
}

// What the controllers cannot tell is named for each agent, and I/O that may be
// its own is nobody's.
func TestLacking(t *testing.T) {
	h, members := leaves(t, "a")
	g := open(t, h, Config{Controllers: true})
	l, err := g.Look(members)
	if err != nil {
		t.Fatal(err)
	}
	f := g.followed[members[0].ID]
	if f.io {
		t.Skip("this cgroup has the io controller: nothing is lacking")
	}
	if len(l.Lacking["a"]) == 0 {
		t.Error("nothing is lacking, though the io controller is")
	}
	if !l.Unowned[cgroup.Root] || l.Unowned[members[0].ID] {
		t.Errorf("unowned: %v, want the ancestors", l.Unowned)
	}
	if g.Network() || g.Probes() != nil {
		t.Error("network though nobody asked for it")
	}
}

// An agent of several cgroups holds what all of them hold.
func TestSums(t *testing.T) {
	out := Look{Memory: make(map[string]*cgroupfs.Memory), Parts: make(map[string]cgroupfs.Parts), Lacking: make(map[string][]string), Unowned: make(map[cgroup.ID]bool)}
	for i, m := range []cgroupfs.Memory{{Current: 10, Peak: 20, WorkingSet: 5, Max: 100, Swap: 1}, {Current: 1, Peak: 2, WorkingSet: 1, Max: 50}} {
		f := &followed{Member: Member{Agent: "a", ID: cgroup.ID(i)}, memory: &m, io: true}
		f.add(&out)
	}
	if got, want := *out.Memory["a"], (cgroupfs.Memory{Current: 11, WorkingSet: 6, Max: 150, Swap: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	f := &followed{Member: Member{Agent: "a", ID: 9}, memory: &cgroupfs.Memory{}, io: true}
	f.add(&out)
	if got := out.Memory["a"].Max; got != 0 {
		t.Errorf("the limit is %d, want none", got)
	}
}

func TestStat(t *testing.T) {
	h, members := leaves(t, "a")
	g := open(t, h, Config{Controllers: true})
	if _, err := g.Look(members); err != nil {
		t.Fatal(err)
	}
	f := g.followed[members[0].ID]
	f.stat(cgroupfs.Stat{
		Throttle: &cgroupfs.Throttle{Periods: 3, Time: time.Second},
		Memory:   &cgroupfs.Memory{OOMKills: 1, Reclaimed: 4096, Refaults: 2, AtHigh: 5, AtMax: 6},
		CPU:      &cgroupfs.Pressure{Some: 1, Full: 2}, IO: &cgroupfs.Pressure{Some: 3, Full: 4}, Mem: &cgroupfs.Pressure{Some: 5, Full: 6},
	})
	want := ledger.Counters{
		ledger.ThrottledTime: uint64(time.Second), ledger.ThrottledPeriods: 3,
		ledger.CPUStall: 1, ledger.CPUFullStall: 2, ledger.IOStall: 3, ledger.IOFullStall: 4, ledger.MemoryStall: 5, ledger.MemoryFullStall: 6,
		ledger.Reclaimed: 4096, ledger.Refaults: 2, ledger.MemoryAtHigh: 5, ledger.MemoryAtMax: 6, ledger.OOMKills: 1,
	}
	if f.parts != (cgroupfs.Parts{Throttle: true, Memory: true, Pressure: true}) || f.parts.And(cgroupfs.Parts{Memory: true}) != (cgroupfs.Parts{Memory: true}) {
		t.Errorf("parts %+v", f.parts)
	}
	if f.counters != want {
		t.Errorf("got %v, want %v", f.counters, want)
	}
}
