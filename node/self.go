package node

import (
	"maps"
	"math/bits"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// selfMeter follows what the node itself uses.
type selfMeter struct {
	cpu    time.Duration
	energy map[energy.Zone]energy.Microjoules
}

// measure charges the node its part, by CPU time, of what system used in the
// interval. The energy is an estimate: it is contained in system, and no
// account of its own.
func (m *selfMeter) measure(o *observe.Observation) ledger.Usage {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) == nil {
		cpu := time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
		for _, a := range o.Accounts {
			if a.Kind == ledger.KindSystem && a.Interval.CPU > 0 {
				m.share(a.Interval, min(max(cpu-m.cpu, 0), a.Interval.CPU))
			}
		}
		m.cpu = cpu
	}
	return ledger.Usage{CPU: m.cpu, Energy: maps.Clone(m.energy)}
}

func (m *selfMeter) share(system ledger.Usage, own time.Duration) {
	if m.energy == nil {
		m.energy = make(map[energy.Zone]energy.Microjoules)
	}
	for z, e := range system.Energy {
		hi, lo := bits.Mul64(uint64(e), uint64(own)) // #nosec G115 -- own is not negative
		// own <= system.CPU, so that the quotient fits.
		q, _ := bits.Div64(hi, lo, uint64(system.CPU)) // #nosec G115 -- positive
		m.energy[z] += energy.Microjoules(q)
	}
}
