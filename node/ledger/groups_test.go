package ledger

import (
	"testing"
	"time"

	"github.com/cam-os/edge/ebpf/block"
	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
)

// look is an interval in which nothing ran but what it says.
func look(at time.Duration, in Interval) Interval {
	in.Topology = sensor.Topology{Packages: []int{0}, PackageOf: []int{0}}
	in.CPUs = []int{1}
	if in.Snapshot == nil {
		in.Snapshot = &sensor.Snapshot{}
	}
	in.Snapshot.At = at
	in.Owner = func(id cgroup.ID) string { return map[cgroup.ID]string{7: "a", 8: "b"}[id] }
	return in
}

func TestGroups(t *testing.T) {
	l := New(State{})
	step := func(at time.Duration, snap *sensor.Snapshot, groups ...Group) {
		l.Charge(look(at, Interval{Snapshot: snap, Groups: groups}))
		l.Divide(nil)
	}
	group := func(id cgroup.ID, owner string, kills uint64) Group {
		g := Group{Cgroup: id, Owner: owner}
		g.Counters[OOMKills] = kills
		return g
	}
	ran := &sensor.Snapshot{Cgroups: map[cgroup.ID]sensor.Usage{9: {OnCPU: []time.Duration{time.Second}}}}
	step(1*time.Second, ran, group(7, "a", 5)) // what was there before is nobody's
	step(2*time.Second, ran, group(7, "a", 6), group(8, "b", 2), group(9, "c", 100))
	step(3*time.Second, ran, group(7, "a", 4), group(8, "b", 3), group(9, "c", 101)) // a counter that goes back
	step(4*time.Second, ran, group(7, "a", 7))
	for name, want := range map[string]uint64{"a": 2, "b": 3, "c": 1} {
		if got := total(l, name).Counters[OOMKills]; got != want {
			t.Errorf("%s has %d, want %d", name, got, want)
		}
	}
}

func TestBlocksAreCountedOnce(t *testing.T) {
	l := New(State{})
	disk, stacked := block.Device{Major: 8}, block.Device{Major: 253}
	step := func(at time.Duration, id cgroup.ID, bytes uint64) {
		snap := &block.Snapshot{
			Disks: map[block.Device]block.Disk{disk: {Name: "sda"}, stacked: {Name: "dm-0", Stacked: true}},
			Usage: map[block.Key]block.Usage{
				{Cgroup: id, Device: disk, Op: block.Write}:    {Bytes: bytes, Operations: 1},
				{Cgroup: id, Device: stacked, Op: block.Write}: {Bytes: bytes, Operations: 1},
				{Cgroup: 1, Device: disk, Op: block.Flush}:     {Operations: bytes},
			},
			Overflow: block.Usage{Bytes: bytes},
			Unseen:   map[block.Key]block.Usage{{Device: disk, Op: block.Discard}: {Bytes: bytes}},
		}
		l.Charge(look(at, Interval{Blocks: Blocks{Snapshot: snap, Owner: func(id cgroup.ID) string {
			return map[cgroup.ID]string{1: Unattributed, 7: "a"}[id]
		}}}))
		l.Divide(nil)
	}
	step(1*time.Second, 7, 1000)
	step(2*time.Second, 7, 1500)
	step(3*time.Second, 5, 400) // another cgroup, which is nobody's
	if got := total(l, "a").BlockSum(block.Write); got.Bytes != 500 {
		t.Errorf("a wrote %d bytes, want 500", got.Bytes)
	}
	if got := total(l, System).BlockSum(block.Write); got.Bytes != 400 {
		t.Errorf("system wrote %d bytes, want 400", got.Bytes)
	}
	nobody := total(l, Unattributed)
	if got := nobody.BlockSum(block.Flush); got.Operations != 500 {
		t.Errorf("%d flushes, want 500", got.Operations)
	}
	if got := nobody.BlockSum(block.Discard); got.Bytes != 500 {
		t.Errorf("unseen %d, want 500", got.Bytes)
	}
	if got := nobody.BlockSum(block.Other); got.Bytes != 500 {
		t.Errorf("overflow %d, want 500", got.Bytes)
	}
}

func TestMoves(t *testing.T) {
	l := New(State{})
	l.Charge(look(time.Second, Interval{}))
	l.Divide(nil)
	l.Charge(look(2*time.Second, Interval{Snapshot: &sensor.Snapshot{Moves: []sensor.Move{{From: 7, To: 8}, {From: 7, To: 2}, {From: 3, To: 4}}}}))
	l.Divide(nil)
	a, b, system := total(l, "a"), total(l, "b"), total(l, System)
	if a.Counters[MovedOut] != 2 || b.Counters[MovedIn] != 1 || system.Counters[MovedIn] != 1 || system.Counters[MovedOut] != 0 {
		t.Errorf("a %v, b %v, system %v", a.Counters, b.Counters, system.Counters)
	}
}

func TestSince(t *testing.T) {
	earlier := Usage{CPU: 5, Read: 7}
	later := Usage{CPU: 9, Read: 3}
	later.Counters[SentBytes] = 4
	d := later.Since(earlier)
	if d.CPU != 4 || d.Read != 0 || d.Counters[SentBytes] != 4 {
		t.Errorf("%+v", d)
	}
	for c := range NumCounters {
		if back, ok := CounterNamed(c.String()); !ok || back != c {
			t.Errorf("%d is called %q, which is %d", c, c, back)
		}
	}
	if _, ok := CounterNamed("joy"); ok || NumCounters.String() != "unknown" {
		t.Error("names that are none")
	}
}
