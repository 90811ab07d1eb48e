package ledger

import (
	"testing"
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/energy"
)

// spin is an interval in which a and b ran for a second each, a with three
// times the cycles.
func spin(l *Ledger, n int, cycles bool, readings ...energy.Reading) {
	d := time.Duration(n) * time.Second
	use := func(c uint64) sensor.Usage {
		return sensor.Usage{OnCPU: []time.Duration{d}, Cycles: []uint64{c * uint64(n)}, Instructions: []uint64{c * uint64(n) / 2}}
	}
	snap := &sensor.Snapshot{At: d, Cgroups: map[cgroup.ID]sensor.Usage{7: use(3000), 8: use(1000)}}
	in := look(d, Interval{Snapshot: snap, Cycles: cycles})
	l.Charge(in)
	l.Divide(readings)
}

func TestCyclesWeigh(t *testing.T) {
	zone := energy.Zone{Name: "package", Source: energy.RAPL}
	for _, cycles := range []bool{false, true} {
		l := New(State{})
		for n := 1; n <= 2; n++ {
			spin(l, n, cycles, energy.Reading{Zone: zone, Total: energy.Microjoules(n) * 4000, Weighing: energy.CPUTime})
		}
		a, b := total(l, "a"), total(l, "b")
		want := [2]energy.Microjoules{2000, 2000}
		weighing := energy.CPUTime
		if cycles {
			want, weighing = [2]energy.Microjoules{3000, 1000}, energy.Cycles
		}
		if got := [2]energy.Microjoules{a.Energy[zone], b.Energy[zone]}; got != want {
			t.Errorf("cycles %v: %v, want %v", cycles, got, want)
		}
		if got := l.Zones()[0].Reading.Weighing; got != weighing {
			t.Errorf("cycles %v: weighed by %s", cycles, got)
		}
		if cycles && (a.Counters[Cycles] != 3000 || b.Counters[Instructions] != 500) {
			t.Errorf("a took %d cycles, b %d instructions", a.Counters[Cycles], b.Counters[Instructions])
		}
	}
}

// What CPU time cannot weigh is nobody's, idle power and all.
func TestNothingWeighs(t *testing.T) {
	zone := energy.Zone{Name: "gpu", Socket: energy.AllSockets, Source: energy.HWMon}
	l := New(State{})
	for n := 1; n <= 3; n++ {
		spin(l, n, false, energy.Reading{Zone: zone, Total: energy.Microjoules(n) * 1000, Weighing: energy.NoWeighing})
	}
	z := l.Zones()[0]
	if z.Metered != 2000 || z.Unattributed != 2000 || z.Residual() != 0 || z.IdlePower != 0 {
		t.Errorf("got %+v", z)
	}
}

// Work of the time before a meter began anew is not charged with later joules.
func TestMeterBeginsAnew(t *testing.T) {
	zone := energy.Zone{Name: "battery", Socket: energy.AllSockets, Source: energy.PowerSupply}
	l := New(State{})
	step := func(n int, id cgroup.ID, r energy.Reading) {
		r.Zone, r.Weighing = zone, energy.CPUTime
		d := time.Duration(n) * time.Second
		use := map[cgroup.ID]sensor.Usage{id: {OnCPU: []time.Duration{d}}}
		l.Charge(look(d, Interval{Snapshot: &sensor.Snapshot{At: d, Cgroups: use}}))
		l.Divide([]energy.Reading{r})
	}
	step(1, 7, energy.Reading{Total: 1000})
	step(2, 7, energy.Reading{Total: 1000}) // charging: nothing is counted
	step(3, 8, energy.Reading{Total: 1500, Resets: 1})
	if a, b := total(l, "a").Energy[zone], total(l, "b").Energy[zone]; a != 0 || b != 500 {
		t.Errorf("a pays %d, b %d; want 0 and 500", a, b)
	}
}
