package ledger

import (
	"maps"
	"time"

	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/energy"
)

func (u *Usage) add(d Usage) {
	u.CPU += d.CPU
	u.Switches += d.Switches
	u.Read += d.Read
	u.Written += d.Written
	for z, e := range d.Energy {
		if u.Energy == nil {
			u.Energy = make(map[energy.Zone]energy.Microjoules)
		}
		u.Energy[z] += e
	}
}

func (u Usage) clone() Usage {
	u.Energy = maps.Clone(u.Energy)
	return u
}

// IsZero says whether nothing at all was used.
func (u Usage) IsZero() bool {
	if u.CPU != 0 || u.Switches != 0 || u.Read != 0 || u.Written != 0 {
		return false
	}
	for _, e := range u.Energy {
		if e != 0 {
			return false
		}
	}
	return true
}

func (a *account) charge(d delta) {
	a.interval.CPU += d.cpu()
	a.interval.Switches += d.switches
	a.interval.Read += d.read
	a.interval.Written += d.written
	for i, t := range d.onCPU {
		if i < len(a.onCPU) {
			a.onCPU[i] += t
		}
	}
}

func (a *account) joules(z energy.Zone, e energy.Microjoules) {
	if e == 0 {
		return
	}
	if a.interval.Energy == nil {
		a.interval.Energy = make(map[energy.Zone]energy.Microjoules)
	}
	a.interval.Energy[z] += e
}

// delta is the difference of two sensor usages; nothing in it is negative.
type delta struct {
	onCPU         []uint64
	switches      uint64
	read, written uint64
}

func (d delta) isZero() bool {
	return d.cpu() == 0 && d.switches == 0 && d.read == 0 && d.written == 0
}

func (d delta) cpu() time.Duration {
	var sum uint64
	for _, t := range d.onCPU {
		sum += t
	}
	return time.Duration(sum) // #nosec G115 -- a difference of durations
}

func (d delta) usage() Usage {
	return Usage{CPU: d.cpu(), Switches: d.switches, Read: d.read, Written: d.written}
}

// difference of cumulative figures. The sensor promises that they never go
// back; should one do so all the same, nothing is charged until it has caught
// up (see highest).
func difference(now, before sensor.Usage) delta {
	d := delta{
		onCPU:    make([]uint64, len(now.OnCPU)),
		switches: above(now.Switches, before.Switches),
		read:     above(now.Read, before.Read),
		written:  above(now.Written, before.Written),
	}
	for i, t := range now.OnCPU {
		var b time.Duration
		if i < len(before.OnCPU) {
			b = before.OnCPU[i]
		}
		if t > b {
			d.onCPU[i] = uint64(t - b) // #nosec G115 -- positive
		}
	}
	return d
}

// highest keeps the larger of each figure, so that a counter that went back
// is not charged twice when it comes up again.
func highest(now, before sensor.Usage) sensor.Usage {
	h := sensor.Usage{
		OnCPU:    make([]time.Duration, len(now.OnCPU)),
		Switches: max(now.Switches, before.Switches),
		Read:     max(now.Read, before.Read),
		Written:  max(now.Written, before.Written),
	}
	for i, t := range now.OnCPU {
		h.OnCPU[i] = t
		if i < len(before.OnCPU) {
			h.OnCPU[i] = max(t, before.OnCPU[i])
		}
	}
	return h
}

func above(now, before uint64) uint64 {
	if now > before {
		return now - before
	}
	return 0
}

func resized(s []uint64, n int) []uint64 {
	if cap(s) < n {
		return make([]uint64, n)
	}
	s = s[:n]
	clear(s)
	return s
}
