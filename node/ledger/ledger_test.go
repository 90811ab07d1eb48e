package ledger

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/energy"
)

var twoSockets = sensor.Topology{Packages: []int{0, 1}, PackageOf: []int{0, 0, 1, 1}}

func pkg(socket int) energy.Zone {
	return energy.Zone{Name: "package", Socket: socket, Source: energy.RAPL}
}

// machine is a generated world: cgroups that live, die and come back, CPUs
// that go, meters that wrap, freeze, reset and vanish. It knows the truth.
type machine struct {
	at       time.Duration
	cgroups  map[cgroup.ID]sensor.Usage
	overflow sensor.Usage
	zones    map[energy.Zone]energy.Microjoules
	owners   map[cgroup.ID]string
}

func usage(pkgs ...time.Duration) sensor.Usage { return sensor.Usage{OnCPU: pkgs} }

func (m *machine) step(t *rapid.T, l *Ledger) {
	elapsed := rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, time.Second, 3 * time.Hour}).Draw(t, "elapsed")
	m.at += elapsed
	for i := range rapid.IntRange(0, 4).Draw(t, "busy cgroups") {
		id := cgroup.ID(rapid.Uint64Range(2, 8).Draw(t, "cgroup"))
		u := m.cgroups[id]
		if u.OnCPU == nil {
			u = usage(0, 0)
		}
		grown := sensor.Usage{OnCPU: make([]time.Duration, 2)}
		for p := range grown.OnCPU {
			grown.OnCPU[p] = u.OnCPU[p] + time.Duration(rapid.Uint64Range(0, uint64(time.Second)).Draw(t, fmt.Sprint("cpu", i, p)))
		}
		grown.Switches, grown.Written = u.Switches+1, u.Written+uint64(i)
		m.cgroups[id] = grown
	}
	if rapid.Bool().Draw(t, "dies") {
		delete(m.cgroups, cgroup.ID(rapid.Uint64Range(2, 8).Draw(t, "dead")))
	}
	if rapid.IntRange(0, 4).Draw(t, "overflow") == 0 {
		m.overflow = usage(m.overflow.OnCPU[0]+time.Millisecond, m.overflow.OnCPU[1])
	}
	if rapid.IntRange(0, 5).Draw(t, "retire") == 0 {
		l.Retire(rapid.SampledFrom([]string{"a", "b", System, "nobody-of-that-name"}).Draw(t, "retired"))
	}
	var readings []energy.Reading
	for z := range m.zones {
		if rapid.IntRange(0, 3).Draw(t, "frozen") > 0 {
			m.zones[z] += energy.Microjoules(rapid.Uint64Range(0, 1<<40).Draw(t, "energy"))
		}
		if rapid.IntRange(0, 5).Draw(t, "unread") > 0 {
			readings = append(readings, energy.Reading{Zone: z, Total: m.zones[z]})
		}
	}
	snap := &sensor.Snapshot{At: m.at, Cgroups: make(map[cgroup.ID]sensor.Usage), Overflow: m.overflow}
	for id, u := range m.cgroups {
		snap.Cgroups[id] = u
	}
	l.Charge(Interval{
		Snapshot: snap, Topology: twoSockets, CPUs: []int{2, 2},
		Owner: func(id cgroup.ID) string { return m.owners[id] },
	})
	l.Divide(readings)
}

// Joules are conserved, to the microjoule, and no account goes back, whatever
// happens, restarts of the node included.
func TestConservation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		psys := energy.Zone{Name: "psys", Socket: energy.AllSockets, Source: energy.RAPL}
		m := &machine{
			cgroups: map[cgroup.ID]sensor.Usage{}, overflow: usage(0, 0),
			zones:  map[energy.Zone]energy.Microjoules{pkg(0): 0, pkg(1): 77, psys: 0, {Name: "dram", Socket: 9, Source: energy.Simulated}: 0},
			owners: map[cgroup.ID]string{2: "a", 3: "a", 4: "b"},
		}
		l := New(State{})
		before := map[string]Usage{}
		for range rapid.IntRange(2, 30).Draw(t, "intervals") {
			if rapid.IntRange(0, 6).Draw(t, "restart") == 0 {
				l = New(l.State())
			}
			retired := !l.Has("a") || !l.Has("b")
			m.step(t, l)
			sums := map[energy.Zone]energy.Microjoules{}
			for _, a := range l.Accounts() {
				for z, e := range a.Total.Energy {
					sums[z] += e
				}
				was, ok := before[a.Name]
				if !ok || retired && a.Kind == KindAgent {
					continue
				}
				if l.Has(a.Name) && a.Kind != KindAgent && (a.Total.CPU < was.CPU || a.Total.Written < was.Written || a.Total.Switches < was.Switches) {
					t.Fatalf("%s went back: %+v then %+v", a.Name, was, a.Total)
				}
			}
			for _, z := range l.Zones() {
				if z.Residual() != 0 {
					t.Fatalf("%v: residual %d µJ", z.Reading.Zone, z.Residual())
				}
				if sums[z.Reading.Zone] != z.Metered {
					t.Fatalf("%v: accounts sum to %d, metered %d", z.Reading.Zone, sums[z.Reading.Zone], z.Metered)
				}
			}
			before = map[string]Usage{}
			for _, a := range l.Accounts() {
				before[a.Name] = a.Total
			}
		}
	})
}

// apply is one interval of a world with two cgroups: 2 is agent a, 3 is system.
func apply(l *Ledger, at time.Duration, a, sys []time.Duration, readings ...energy.Reading) {
	l.Charge(Interval{
		Snapshot: &sensor.Snapshot{At: at, Cgroups: map[cgroup.ID]sensor.Usage{2: usage(a...), 3: usage(sys...)}},
		Topology: twoSockets, CPUs: []int{2, 2},
		Owner: func(id cgroup.ID) string {
			if id == 2 {
				return "a"
			}
			return ""
		},
	})
	l.Divide(readings)
}

func total(l *Ledger, name string) Usage {
	for _, a := range l.Accounts() {
		if a.Name == name {
			return a.Total
		}
	}
	return Usage{}
}

func TestEachSocketPaysForItsOwnWork(t *testing.T) {
	l := New(State{})
	apply(l, 0, []time.Duration{0, 0}, []time.Duration{0, 0}, energy.Reading{Zone: pkg(0)}, energy.Reading{Zone: pkg(1)})
	// a works on socket 0 only, system on socket 1 only; socket 1 is hungrier.
	apply(l, time.Second, []time.Duration{time.Second, 0}, []time.Duration{0, time.Second},
		energy.Reading{Zone: pkg(0), Total: 10_000_000}, energy.Reading{Zone: pkg(1), Total: 90_000_000})
	if got := total(l, "a").Energy; got[pkg(0)] != 10_000_000 || got[pkg(1)] != 0 {
		t.Errorf("a: %v, want 10 J of package 0 and none of package 1", got)
	}
	if got := total(l, System).Energy; got[pkg(1)] != 90_000_000 || got[pkg(0)] != 0 {
		t.Errorf("system: %v, want 90 J of package 1 and none of package 0", got)
	}
}

// A counter that stands still for a while and then moves pays for all the work
// since it last moved, not only for the last interval's.
func TestFrozenZoneKeepsTheWeights(t *testing.T) {
	l := New(State{})
	s := time.Second
	apply(l, 0, []time.Duration{0, 0}, []time.Duration{0, 0}, energy.Reading{Zone: pkg(0)})
	apply(l, 1*s, []time.Duration{3 * s, 0}, []time.Duration{0, 0}, energy.Reading{Zone: pkg(0)})
	apply(l, 2*s, []time.Duration{3 * s, 0}, []time.Duration{1 * s, 0}, energy.Reading{Zone: pkg(0), Total: 8_000_000})
	if got := total(l, "a").Energy[pkg(0)]; got != 6_000_000 {
		t.Errorf("a got %d µJ, want 6 J: three quarters of the work", got)
	}
}

// What was used before the first look belongs to nobody, and a restart of the
// node does not charge it either.
func TestFirstLookOnlySetsMarks(t *testing.T) {
	l := New(State{})
	apply(l, 0, []time.Duration{time.Hour, 0}, []time.Duration{0, 0}, energy.Reading{Zone: pkg(0), Total: 1 << 40})
	if u := total(l, "a"); !u.IsZero() {
		t.Errorf("charged before the first interval: %+v", u)
	}
	apply(l, time.Second, []time.Duration{time.Hour + time.Second, 0}, []time.Duration{0, 0}, energy.Reading{Zone: pkg(0), Total: 1<<40 + 5})
	l = New(l.State())
	apply(l, 0, []time.Duration{time.Minute, 0}, []time.Duration{0, 0}, energy.Reading{Zone: pkg(0), Total: 7})
	if u := total(l, "a"); u.CPU != time.Second || u.Energy[pkg(0)] != 5 {
		t.Errorf("after a restart: %+v, want 1 s and 5 µJ", u)
	}
}

// A sensor that breaks its word and goes back is not charged twice.
func TestCounterThatGoesBack(t *testing.T) {
	l := New(State{})
	zero := []time.Duration{0, 0}
	for i, cpu := range []time.Duration{0, 10, 4, 10, 12} {
		apply(l, time.Duration(i)*time.Second, []time.Duration{cpu, 0}, zero)
	}
	if u := total(l, "a"); u.CPU != 12 {
		t.Errorf("charged %v, want 12ns", u.CPU)
	}
}

func TestRetireKeepsSums(t *testing.T) {
	l := New(State{})
	apply(l, 0, []time.Duration{0, 0}, []time.Duration{0, 0}, energy.Reading{Zone: pkg(0)})
	apply(l, time.Second, []time.Duration{time.Second, 0}, []time.Duration{0, 0}, energy.Reading{Zone: pkg(0), Total: 42})
	l.Retire("a")
	l.Retire(System) // not an agent: refused
	if l.Has("a") || !l.Has(System) {
		t.Error("a should be gone and system should not")
	}
	if u := total(l, Retired); u.CPU != time.Second || u.Energy[pkg(0)] != 42 {
		t.Errorf("retired: %+v", u)
	}
}

// A damaged state must not turn an account of the node into an agent.
func TestRestoreKeepsReservedNames(t *testing.T) {
	l := New(State{Accounts: []AccountState{{Name: System, Kind: KindAgent}, {Name: "x", Kind: KindIdle}}})
	for _, a := range l.Accounts() {
		if (a.Kind == KindAgent) != (a.Name == "x") {
			t.Errorf("%s has kind %d", a.Name, a.Kind)
		}
	}
}

// A meter that knows the power of a quiet zone, as a model does, need not be
// watched until it is learned.
func TestMeterThatKnowsItsIdlePower(t *testing.T) {
	l := New(State{})
	z := energy.Zone{Name: "package", Socket: 0, Source: energy.Model}
	apply(l, 0, []time.Duration{0, 0}, []time.Duration{0, 0}, energy.Reading{Zone: z, Idle: 2_000_000})
	apply(l, time.Second, []time.Duration{time.Second, 0}, []time.Duration{0, 0}, energy.Reading{Zone: z, Total: 5_000_000, Idle: 2_000_000})
	if a, idle := total(l, "a").Energy[z], total(l, Idle).Energy[z]; a != 3_000_000 || idle != 2_000_000 {
		t.Errorf("a %d µJ, idle %d µJ; want 3 J and 2 J", a, idle)
	}
}
