package energy

import (
	"math/bits"
	"slices"
	"time"
)

// model estimates the energy of packages that have no meter:
//
//	idle × time + (max − idle) × on-CPU time ÷ CPUs
//
// in integers, remainders carried, so that nothing drifts. Time that the
// machine was known to be suspended counts for nothing. If that is not known
// (Activity.Suspended is 0), it counts as idle, and never as more, since
// nothing was on a CPU.
type model struct {
	power rating
	zones []*estimate
}

// rating is the power of a processor, or of a share of one.
type rating struct {
	idle, max Microwatts
	// per is how many CPUs draw that; 0 means those of one package, whatever
	// their number.
	per int
	// most is the largest number of CPUs to scale to; 0 means no limit.
	most int
	// board is set if the power is that of all packages together.
	board bool
	err   float64
	note  string
}

// of returns the idle and the maximal power of a package of cpus out of all.
func (r rating) of(cpus, all int) (idle, max Microwatts) {
	num, den := uint64(1), uint64(1)
	if r.most > 0 {
		cpus = min(cpus, r.most)
	}
	switch {
	case r.board && all > 0:
		num, den = uint64(cpus), uint64(all) // #nosec G115 -- counts
	case r.per > 0:
		num, den = uint64(cpus), uint64(r.per) // #nosec G115 -- counts
	}
	return r.idle * Microwatts(num) / Microwatts(den), r.max * Microwatts(num) / Microwatts(den)
}

// estimate is one package's.
type estimate struct {
	zone      Zone
	total     Microjoules
	at        time.Duration // of the last look
	moved     time.Duration
	suspended time.Duration
	busy      time.Duration
	idleRest  uint64 // µW·ns below a microjoule
	busyRest  uint64 // the same, times cpus
	cpus      uint64
	faults    uint64
	idle      Microwatts
	state     State
	note      string
}

// read estimates every package but the metered.
func (m *model) read(a Activity, metered map[int]Source) []Reading {
	for _, e := range m.zones {
		e.state, e.note = Lost, "the package is gone"
	}
	all := 0
	for _, n := range a.CPUs {
		all += max(n, 0)
	}
	for i := range min(len(a.Busy), len(a.CPUs)) {
		socket := i
		if i < len(a.Packages) {
			socket = a.Packages[i]
		}
		source, superseded := metered[socket]
		j := slices.IndexFunc(m.zones, func(e *estimate) bool { return e.zone.Socket == socket })
		if j < 0 {
			if superseded {
				continue
			}
			zone := Zone{Name: Package, Socket: socket, Source: Model}
			m.zones = append(m.zones, &estimate{zone: zone, at: a.At, moved: a.At, suspended: a.Suspended, busy: a.Busy[i]})
			j = len(m.zones) - 1
		}
		e := m.zones[j]
		if superseded {
			// Going on would count the package twice.
			e.at, e.busy, e.suspended = a.At, a.Busy[i], a.Suspended
			e.state, e.note = Stale, "superseded by "+string(source)
			continue
		}
		idle, most := m.power.of(max(a.CPUs[i], 0), all)
		e.advance(a, i, idle, most)
		e.idle = idle
		e.state, e.note = Fresh, m.power.note
	}
	out := make([]Reading, 0, len(m.zones))
	for _, e := range m.zones {
		out = append(out, Reading{
			Zone: e.zone, Total: e.total, State: e.state, Age: max(a.At-e.moved, 0),
			Error: m.power.err, Idle: e.idle, Note: e.note, Faults: e.faults,
		})
	}
	return out
}

// advance adds the energy since the last look.
func (e *estimate) advance(a Activity, i int, idle, most Microwatts) {
	elapsed, busy := a.At-e.at, a.Busy[i]-e.busy
	asleep := max(a.Suspended-e.suspended, 0)
	e.busy, e.suspended = a.Busy[i], a.Suspended
	if elapsed < 0 || busy < 0 {
		e.faults++ // a clock or a sensor that broke its promise
	}
	e.at = max(e.at, a.At)
	awake := max(elapsed-asleep, 0)
	gained := integrate(idle, awake, 1, &e.idleRest)
	if cpus := uint64(max(a.CPUs[i], 0)); cpus > 0 { // #nosec G115 -- not negative
		if cpus != e.cpus {
			e.busyRest, e.cpus = 0, cpus // hot-plugged: below a microjoule
		}
		hi, capacity := bits.Mul64(uint64(awake), cpus) // #nosec G115 -- not negative
		if hi == 0 && uint64(max(busy, 0)) > capacity { // #nosec G115 -- not negative
			busy = time.Duration(capacity) // #nosec G115 -- below busy
		}
		gained += integrate(most-idle, max(busy, 0), cpus, &e.busyRest)
	}
	if gained > 0 {
		e.total += gained
		e.moved = e.at
	}
}

// integrate is p held for d, divided by n. rest carries what is below a
// microjoule from call to call.
func integrate(p Microwatts, d time.Duration, n uint64, rest *uint64) Microjoules {
	hi, lo := bits.Mul64(uint64(p), uint64(d)) // #nosec G115 -- callers give d >= 0
	lo, carry := bits.Add64(lo, *rest, 0)
	unit := uint64(time.Second) * n
	q, r := bits.Div64((hi+carry)%unit, lo, unit) // below 18 MW·years, so hi < unit
	*rest = r
	return Microjoules(q)
}
