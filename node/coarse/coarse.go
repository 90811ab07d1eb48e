// Package coarse makes figures safe to show to those who must not see fine
// ones: no finer than a second and a tenth of a joule.
//
// Fine energy figures tell what other programs compute (PLATYPUS, Lipp et al.,
// IEEE S&P 2021; the kernel's powercap energy_uj is 0400 for it). An agent's
// own figure is no exception: it is its share, which it knows, of what the
// whole package drew. CPU time, switches and bytes stay whole; time makes them
// coarse.
package coarse

import (
	"sync"
	"time"

	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

const (
	// Energy is the least step of energy.
	Energy energy.Microjoules = 100_000
	// Power is the least step of power that is not computed from energy.
	Power energy.Microwatts = 100_000
	// Interval is the least time between two observations.
	Interval = time.Second
)

// jitter of a timer: without it a node that looks once a second would show
// every other look.
const jitter = Interval / 20

// After makes o coarse. prev is the coarse observation before it, or nil.
//
// Totals of energy are rounded down to Energy, each account's by itself, so
// that they never go back. Figures of an interval are differences of coarse
// totals since prev; without prev they are absent, and Interval is 0. What a
// zone metered becomes the sum of its coarse parts: conservation stays exact,
// and the zone lags behind by less than Energy for each of its accounts.
// The breakdown of system is left out. o is not changed.
func After(prev, o *observe.Observation) *observe.Observation {
	c := *o
	c.Breakdown = nil
	c.Self = usage(o.Self)
	c.Interval = 0
	if prev != nil {
		c.Interval = o.At - prev.At
	}
	c.Accounts = accounts(prev, o.Accounts)
	c.Zones = make([]ledger.ZoneAccount, len(o.Zones))
	for i, z := range o.Zones {
		c.Zones[i] = zone(z, c.Accounts)
		if prev != nil {
			c.Zones[i].Power = power(prev.Zones, c.Zones[i], c.Interval)
		}
	}
	return &c
}

func usage(u ledger.Usage) ledger.Usage {
	fine := u.Energy
	u.Energy = make(map[energy.Zone]energy.Microjoules, len(fine))
	for z, e := range fine {
		u.Energy[z] = floor(e)
	}
	return u
}

func floor(e energy.Microjoules) energy.Microjoules { return e - e%Energy }

func accounts(prev *observe.Observation, fine []ledger.Account) []ledger.Account {
	before := map[string]ledger.Usage{}
	if prev != nil {
		for _, a := range prev.Accounts {
			before[a.Name] = a.Total
		}
	}
	out := make([]ledger.Account, len(fine))
	for i, a := range fine {
		a.Total = usage(a.Total)
		a.Interval = ledger.Usage{}
		if prev != nil {
			a.Interval = a.Total.Since(before[a.Name])
			delete(before, a.Name)
		}
		out[i] = a
	}
	// What is left in before was folded into the retired: it is no new use.
	for i := range out {
		if prev == nil || out[i].Kind != ledger.KindRetired {
			continue
		}
		for _, gone := range before {
			out[i].Interval = out[i].Interval.Since(gone)
		}
	}
	return out
}

func less[T ~uint64](a, b T) T {
	if a < b {
		return 0
	}
	return a - b
}

func zone(z ledger.ZoneAccount, accounts []ledger.Account) ledger.ZoneAccount {
	z.Reading.Total = floor(z.Reading.Total)
	z.Reading.Age = z.Reading.Age.Truncate(Interval)
	z.IdlePower -= z.IdlePower % Power
	z.Power = 0
	z.Agents = 0
	for _, a := range accounts {
		if a.Kind == ledger.KindAgent || a.Kind == ledger.KindRetired {
			z.Agents += a.Total.Energy[z.Reading.Zone]
		}
	}
	z.System, z.Idle, z.Unattributed = floor(z.System), floor(z.Idle), floor(z.Unattributed)
	z.Metered = z.Agents + z.System + z.Idle + z.Unattributed
	return z
}

// power is the mean since the zone's earlier figure.
func power(before []ledger.ZoneAccount, z ledger.ZoneAccount, d time.Duration) energy.Microwatts {
	if d <= 0 {
		return 0
	}
	for _, b := range before {
		if b.Reading.Zone == z.Reading.Zone {
			// Whole joules in nanoseconds would overflow after 18 kJ; µJ over µs
			// times a million holds for 18 MJ in one interval.
			us := uint64(max(d.Microseconds(), 1)) // #nosec G115 -- positive
			return energy.Microwatts(uint64(less(z.Metered, b.Metered)) * 1_000_000 / us)
		}
	}
	return 0
}

// Stepper gives out coarse observations, at most one a second. All faces of a
// node must share one: two that step at different moments would together show
// a finer time. It may be used concurrently.
type Stepper struct {
	mu   sync.Mutex
	last *observe.Observation
}

// Step takes what the node published last, which may be nil, and returns what
// may be shown: the coarse form of it when a second has passed since the
// earlier one, else the earlier one. A face must offer every observation, also
// when nobody looks, so that intervals stay short.
func (s *Stepper) Step(o *observe.Observation) *observe.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o == nil || s.last != nil && o.At-s.last.At < Interval-jitter {
		return s.last
	}
	s.last = After(s.last, o)
	return s.last
}
