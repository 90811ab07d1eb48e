package sensor

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// movesOf are those of one process, in looks from now on until there are n.
func movesOf(t *testing.T, s Sensor, pid, n int) (moves []Move) {
	t.Helper()
	for range 100 {
		sn := look(t, s)
		for _, m := range sn.Moves {
			if m.Process != pid {
				continue
			}
			for _, id := range []cgroup.ID{m.From, m.To} {
				if _, ok := sn.Parents[id]; !ok && id != cgroup.Root {
					t.Errorf("no parent of %d, where a move is from or to", id)
				}
			}
			moves = append(moves, m)
		}
		if len(moves) >= n {
			return moves
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d moves of %d: %+v", len(moves), n, moves)
	return moves
}

func comm(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:len(b)-1])
}

// A move is recorded, and what was used before it stays where it was.
func TestMoveKeepsTheCharge(t *testing.T) {
	h := hierarchy(t)
	s := kernelSensor(t, Config{})
	dir := diskDir(t)
	from, to := newLeaf(t, h, ""), newLeaf(t, h, "")
	a := start(t, from.dir, "burn:100ms", fmt.Sprintf("write:%s/f:%d", dir, 4*mega), "io", "wait",
		"burn:160ms", fmt.Sprintf("write:%s/g:%d", dir, mega), "io", "wait")
	first := a.wrote()
	a.ready()
	pid := a.cmd.Process.Pid
	// No look comes between: the kernel alone must know.
	before, err := bootTime()
	if err != nil {
		t.Fatal(err)
	}
	used := cpuOf(t, a)
	if err := h.Move(to.path, pid); err != nil {
		t.Fatal(err)
	}
	after, _ := bootTime()
	if err := h.Move(to.path, pid); err != nil { // where it is: no move
		t.Fatal(err)
	}
	a.goOn()
	second := a.wrote() - first
	a.ready()

	got := movesOf(t, s, pid, 2)
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	born, moved := got[0], got[1]
	if !born.Fork || born.To != from.id || born.TID != pid || born.By != os.Getpid() || born.From == from.id {
		t.Errorf("its birth: %+v", born)
	}
	want := Move{At: moved.At, TID: pid, Process: pid, Command: comm(t), From: from.id, To: to.id, By: os.Getpid(), ByCommand: comm(t)}
	if moved != want {
		t.Errorf("its move: %+v, want %+v", moved, want)
	}
	// bootTime's clock may be a tick apart.
	if moved.At < before-time.Millisecond || moved.At > after+time.Millisecond {
		t.Errorf("moved at %v, not from %v to %v", moved.At, before, after)
	}
	check := func(when string) {
		t.Helper()
		sn := look(t, s)
		if got := written(sn, from.id); !near(got, first) {
			t.Errorf("%s: the old cgroup has %d bytes, want %d", when, got, first)
		}
		if got := written(sn, to.id); !near(got, second) {
			t.Errorf("%s: the new cgroup has %d bytes, want %d", when, got, second)
		}
		if got := sn.Cgroups[from.id].cpu(); got < used*3/4 || got > used*5/4 && !emulated() {
			t.Errorf("%s: the old cgroup has %v, want %v", when, got, used)
		}
	}
	check("alive")
	a.goOn().end()
	check("exited")
}

// What runs while it is moved is charged to where it was up to that moment.
func TestMoveWhileRunning(t *testing.T) {
	h := hierarchy(t)
	s := kernelSensor(t, Config{})
	agrees(t, 10, func() (time.Duration, time.Duration) {
		from, to := newLeaf(t, h, ""), newLeaf(t, h, "")
		a := start(t, from.dir, "wait", "burn:10s").ready().goOn()
		for cpuOf(t, a) < 150*time.Millisecond {
			time.Sleep(5 * time.Millisecond)
		}
		used := cpuOf(t, a)
		if err := h.Move(to.path, a.cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		for cpuOf(t, a) < used+50*time.Millisecond {
			time.Sleep(5 * time.Millisecond)
		}
		sn := look(t, s)
		a.kill()
		if sn.Cgroups[to.id].cpu() == 0 {
			// Once in a thousand times, some hosts run no program at a
			// switch: then another task is charged with it. Try again.
			return 0, used
		}
		return sn.Cgroups[from.id].cpu(), used
	})
}

// Threads of a process that is moved, and that exits before anybody looks.
func TestMoveOfThreadsKeepsTheirBytes(t *testing.T) {
	h := hierarchy(t)
	s := kernelSensor(t, Config{})
	dir := diskDir(t)
	from, to := newLeaf(t, h, ""), newLeaf(t, h, "")
	a := start(t, from.dir, fmt.Sprintf("threads:%s/t:%d", dir, mega), "io", "wait",
		fmt.Sprintf("write:%s/g:%d", dir, mega), "io", "wait")
	first := a.wrote()
	a.ready()
	if first < 4*mega {
		t.Fatalf("four threads wrote %d bytes", first)
	}
	if err := h.Move(to.path, a.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	a.goOn()
	second := a.wrote() - first
	a.ready().goOn().end()
	for range 2 {
		sn := look(t, s)
		if got := written(sn, from.id); !near(got, first) {
			t.Errorf("the old cgroup has %d bytes, want %d", got, first)
		}
		if got := written(sn, to.id); !near(got, second) {
			t.Errorf("the new cgroup has %d bytes, want %d", got, second)
		}
	}
}

// One thread alone, in threaded cgroups.
func TestMoveOfOneThread(t *testing.T) {
	h := hierarchy(t)
	s := kernelSensor(t, Config{})
	domain := newLeaf(t, h, "")
	one, two := newLeaf(t, h, domain.path), newLeaf(t, h, domain.path)
	for _, l := range []leaf{one, two} {
		if err := os.WriteFile(l.dir+"/cgroup.type", []byte("threaded"), 0); err != nil {
			t.Fatal(err)
		}
	}
	a := start(t, domain.dir, "wait").ready()
	pid := a.cmd.Process.Pid
	for _, l := range []leaf{one, two} {
		if err := os.WriteFile(l.dir+"/cgroup.threads", fmt.Append(nil, pid), 0); err != nil {
			t.Fatal(err)
		}
	}
	got := movesOf(t, s, pid, 3)
	if len(got) != 3 || got[1].From != domain.id || got[1].To != one.id || got[2].From != one.id || got[2].To != two.id {
		t.Errorf("%+v; want from %d to %d to %d", got, domain.id, one.id, two.id)
	}
	a.goOn().end()
}

// A process that was there before the sensor has a source as well; what does
// not fit into the kernel's buffer is counted.
func TestMovesBeyondTheBuffer(t *testing.T) {
	h := hierarchy(t)
	from, to := newLeaf(t, h, ""), newLeaf(t, h, "")
	a := start(t, from.dir, "wait").ready()
	pid := a.cmd.Process.Pid
	s := kernelSensor(t, Config{})
	const n = 2000
	for i := range n {
		if err := h.Move([]string{to.path, from.path}[i%2], pid); err != nil {
			t.Fatal(err)
		}
	}
	sn := look(t, s)
	if len(sn.Moves) == 0 || sn.MovesLost == 0 {
		t.Fatalf("%d moves seen, %d lost", len(sn.Moves), sn.MovesLost)
	}
	seen := 0
	var last time.Duration
	for _, m := range sn.Moves {
		if m.At < last {
			t.Error("not the oldest first")
		}
		last = m.At
		if m.Process == pid {
			seen++
		}
	}
	first := sn.Moves[0]
	for _, m := range sn.Moves {
		if m.Process == pid {
			first = m
			break
		}
	}
	if first.From != from.id || first.To != to.id {
		t.Errorf("the first: %+v, want from %d to %d", first, from.id, to.id)
	}
	if total := uint64(seen) + sn.MovesLost; total < n {
		t.Errorf("%d moves seen and %d lost of %d", seen, sn.MovesLost, n)
	}
	// And there is room again.
	if err := h.Move(to.path, pid); err != nil {
		t.Fatal(err)
	}
	movesOf(t, s, pid, 1)
	a.goOn().end()
}
