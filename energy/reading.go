package energy

import (
	"math"
	"slices"
	"time"
)

// readings sums the counters of each zone: dies of a package have one each.
// A zone none of whose counters was ever read is left to the model.
func (p *powercap) readings(at time.Duration) []Reading {
	var out []Reading
	for _, d := range p.domains {
		if !d.known {
			continue
		}
		i := slices.IndexFunc(out, func(r Reading) bool { return r.Zone == d.zone })
		if i < 0 {
			out = append(out, Reading{Zone: d.zone, State: d.state, Age: d.age(at), Note: standing(d)})
			i = len(out) - 1
		}
		r := &out[i]
		r.Total += d.total
		r.State = together(r.State, d.state)
		r.Age = min(r.Age, d.age(at)) // the sum moves when any does
		r.Wraps += d.wraps
		r.Resets += d.resets
		r.Faults += d.faults
		r.Error = math.Max(r.Error, d.uncertainty(p.amd))
		if d.warning != "" {
			r.Note = d.warning
		}
	}
	return out
}

// together is the state of a sum: lost with any of its parts, and fresh while
// one moves.
func together(a, b State) State {
	if a == Lost || b == Lost {
		return Lost
	}
	return min(a, b)
}

// standing is what is always to be said of a zone.
func standing(d *domain) string {
	switch {
	case d.zone.Source == Simulated:
		return "simulated: the tree is not the kernel's sysfs"
	case d.span == 0:
		return "max_energy_range_uj is missing or 0: a wrap is taken for a reset"
	}
	return ""
}

// uncertainty is RAPL's own, and what the moment of reading adds: the counter
// moves about every millisecond (Hähnel et al., "Measuring energy consumption
// for short code paths using RAPL", 2012).
//
// Against external meters, packages are within some 5% from Haswell on, and
// DRAM within 10% (Desrochers, Paradis and Weaver, "A validation of DRAM RAPL
// power measurements", MEMSYS 2016; Khan et al., "RAPL in action", ACM TOMPECS
// 3(2), 2018). AMD's figures are modelled from activity and miss what depends
// on data (Schöne et al., "Energy efficiency aspects of the AMD Zen 2
// architecture", CLUSTER 2021): 10%.
//
// A simulated zone has no error of its own: what it shows is the truth.
func (d *domain) uncertainty(amd bool) float64 {
	if !d.zone.Source.Measured() {
		return 0
	}
	accuracy := 0.05
	if d.zone.Name == DRAM || amd {
		accuracy = 0.10
	}
	if d.elapsed <= 0 {
		return accuracy
	}
	return math.Hypot(accuracy, math.Min(1, float64(time.Millisecond)/float64(d.elapsed)))
}
