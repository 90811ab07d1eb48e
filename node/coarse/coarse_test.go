package coarse

import (
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

var zones = []energy.Zone{
	{Name: "package", Socket: 0, Source: energy.RAPL},
	{Name: "package", Socket: 1, Source: energy.RAPL},
	{Name: "psys", Socket: energy.AllSockets, Source: energy.Model},
}

// books is a ledger that keeps the observation's promises: it conserves, and
// folds ended agents into the retired.
type books struct {
	at     time.Duration
	seq    uint64
	totals map[string]ledger.Usage
	kinds  map[string]ledger.Kind
}

func newBooks() *books {
	return &books{
		totals: map[string]ledger.Usage{},
		kinds: map[string]ledger.Kind{
			ledger.Retired: ledger.KindRetired, ledger.System: ledger.KindSystem,
			ledger.Idle: ledger.KindIdle, ledger.Unattributed: ledger.KindUnattributed,
		},
	}
}

func (b *books) charge(name string, cpu time.Duration, e energy.Microjoules) {
	u := b.totals[name]
	m := map[energy.Zone]energy.Microjoules{}
	maps.Copy(m, u.Energy)
	for i, z := range zones {
		m[z] += e * energy.Microjoules(i+1)
	}
	u.Energy = m
	u.CPU += cpu
	u.Switches += uint64(cpu / 1000)
	u.Read += uint64(e)
	b.totals[name] = u
}

func (b *books) retire(name string) {
	u := b.totals[name]
	b.charge(ledger.Retired, u.CPU, u.Energy[zones[0]])
	delete(b.totals, name)
	delete(b.kinds, name)
}

func (b *books) observe() *observe.Observation {
	b.seq++
	o := &observe.Observation{At: b.at, Sequence: b.seq, Interval: 10 * time.Millisecond,
		Breakdown: []observe.CgroupUsage{{Cgroup: "/secret"}}}
	for name, kind := range b.kinds {
		o.Accounts = append(o.Accounts, ledger.Account{Name: name, Kind: kind, Total: b.totals[name]})
	}
	o.Self = b.totals[ledger.System]
	for _, z := range zones {
		za := ledger.ZoneAccount{Reading: energy.Reading{Zone: z, Age: 1234 * time.Millisecond}, IdlePower: 1_234_567, Power: 1_111_111}
		for _, a := range o.Accounts {
			e := a.Total.Energy[z]
			za.Metered += e
			switch a.Kind {
			case ledger.KindSystem:
				za.System += e
			case ledger.KindIdle:
				za.Idle += e
			case ledger.KindUnattributed:
				za.Unattributed += e
			default:
				za.Agents += e
			}
		}
		za.Reading.Total = za.Metered
		o.Zones = append(o.Zones, za)
	}
	return o
}

// Through any history: parts sum to what is shown as metered, all is in whole
// steps, no total goes back, and intervals are differences of totals.
func TestCoarse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, s := newBooks(), &Stepper{}
		var last *observe.Observation
		agents := 0
		for range rapid.IntRange(1, 40).Draw(t, "looks") {
			b.at += time.Duration(rapid.Int64Range(1, int64(3*time.Second)).Draw(t, "after"))
			if rapid.Bool().Draw(t, "new agent") {
				agents++
				b.kinds[fmt.Sprint("a", agents)] = ledger.KindAgent
			}
			if gone := fmt.Sprint("a", rapid.IntRange(1, 10).Draw(t, "gone")); b.kinds[gone] == ledger.KindAgent && b.totals[gone].CPU > 0 {
				b.retire(gone)
			}
			for _, name := range append([]string{"a1", "a2", "a3"}, ledger.System, ledger.Idle, ledger.Unattributed) {
				if _, ok := b.kinds[name]; ok {
					b.charge(name, time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "cpu")), energy.Microjoules(rapid.Uint64Range(0, 5e6).Draw(t, "energy")))
				}
			}
			o := b.observe()
			before := fmt.Sprintf("%+v", *o)
			c := s.Step(o)
			if fmt.Sprintf("%+v", *o) != before {
				t.Fatal("the fine observation was changed")
			}
			check(t, last, c, o)
			last = c
		}
	})
}

func check(t *rapid.T, last, c, o *observe.Observation) {
	if last == c {
		if o.At-c.At >= Interval {
			t.Fatalf("held back for %v", o.At-c.At)
		}
		return
	}
	if c.Sequence != o.Sequence || c.Breakdown != nil {
		t.Fatalf("%+v", c)
	}
	if last != nil && (c.At-last.At < Interval-jitter || c.Interval != c.At-last.At) {
		t.Fatalf("%v after the earlier one, interval %v", c.At-last.At, c.Interval)
	}
	if last == nil && c.Interval != 0 {
		t.Fatal("the first has no interval")
	}
	before := map[string]ledger.Usage{}
	if last != nil {
		for _, a := range last.Accounts {
			before[a.Name] = a.Total
		}
	}
	for _, a := range c.Accounts {
		for z, e := range a.Total.Energy {
			if e%Energy != 0 || e < before[a.Name].Energy[z] {
				t.Fatalf("%s: %d after %d", a.Name, e, before[a.Name].Energy[z])
			}
			if a.Interval.Energy[z]%Energy != 0 {
				t.Fatalf("%s: %d in the interval", a.Name, a.Interval.Energy[z])
			}
			if last != nil && a.Kind != ledger.KindRetired && a.Interval.Energy[z] != e-before[a.Name].Energy[z] {
				t.Fatalf("%s: %d in the interval, total %d after %d", a.Name, a.Interval.Energy[z], e, before[a.Name].Energy[z])
			}
		}
	}
	// Folding an agent into the retired is no use.
	if last != nil {
		used := time.Duration(0)
		for _, a := range c.Accounts {
			used += a.Interval.CPU - a.Total.CPU
		}
		for _, u := range before {
			used += u.CPU
		}
		if used != 0 {
			t.Fatalf("intervals are %v more than totals", used)
		}
	}
	for i, z := range c.Zones {
		if z.Residual() != 0 {
			t.Fatalf("residual %d", z.Residual())
		}
		fine := o.Zones[i]
		if z.Metered > fine.Metered || fine.Metered-z.Metered > Energy*energy.Microjoules(len(o.Accounts)) {
			t.Fatalf("metered %d, finely %d", z.Metered, fine.Metered)
		}
		var agents energy.Microjoules
		for _, a := range c.Accounts {
			if a.Kind == ledger.KindAgent || a.Kind == ledger.KindRetired {
				agents += a.Total.Energy[z.Reading.Zone]
			}
		}
		if z.Agents != agents || z.Metered%Energy != 0 || z.Reading.Total%Energy != 0 || z.IdlePower%Power != 0 || z.Reading.Age%Interval != 0 {
			t.Fatalf("%+v", z)
		}
		if last != nil && (z.Metered < last.Zones[i].Metered || uint64(z.Power) != uint64(z.Metered-last.Zones[i].Metered)*1_000_000/uint64(c.Interval.Microseconds())) {
			t.Fatalf("power %d, metered %d after %d in %v", z.Power, z.Metered, last.Zones[i].Metered, c.Interval)
		}
	}
}

// A node that looks once a second shows each look, although its timer jitters.
func TestJitter(t *testing.T) {
	b, s := newBooks(), &Stepper{}
	shown := map[uint64]bool{}
	for i := range 20 {
		b.at = time.Duration(i)*time.Second + time.Duration(i%3)*5*time.Millisecond
		shown[s.Step(b.observe()).Sequence] = true
	}
	if len(shown) != 20 {
		t.Errorf("%d of 20 shown", len(shown))
	}
}

func TestNothing(t *testing.T) {
	s := &Stepper{}
	if s.Step(nil) != nil {
		t.Error("something from nothing")
	}
	b := newBooks()
	b.at = time.Hour
	first := s.Step(b.observe())
	if s.Step(nil) != first {
		t.Error("nothing new is the earlier one")
	}
	b.at = time.Minute // a clock that never goes back has gone back
	if s.Step(b.observe()) != first {
		t.Error("an older one was shown")
	}
	if z := zones[0]; !reflect.DeepEqual(After(nil, b.observe()).Self.Energy, map[energy.Zone]energy.Microjoules{}) || floor(199_999) != 100_000 || z.Name == "" {
		t.Error("odds and ends")
	}
	if power(nil, ledger.ZoneAccount{}, time.Second) != 0 || power(nil, ledger.ZoneAccount{}, 0) != 0 {
		t.Error("power without an earlier figure")
	}
}
