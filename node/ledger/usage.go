package ledger

import (
	"maps"
	"slices"
	"time"

	"github.com/cam-os/edge/ebpf/block"
	"github.com/cam-os/edge/ebpf/histogram"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/energy"
)

func (u *Usage) add(d Usage) {
	u.CPU += d.CPU
	u.Switches += d.Switches
	u.Read += d.Read
	u.Written += d.Written
	u.Wait.Add(d.Wait)
	u.Counters.add(d.Counters)
	for z, e := range d.Energy {
		u.joules(z, e)
	}
	for k, b := range d.Block {
		u.Block = addBlock(u.Block, k, b)
	}
}

func (u *Usage) joules(z energy.Zone, e energy.Microjoules) {
	if e == 0 {
		return
	}
	if u.Energy == nil {
		u.Energy = make(map[energy.Zone]energy.Microjoules)
	}
	u.Energy[z] += e
}

func (u Usage) clone() Usage {
	u.Energy, u.Block = maps.Clone(u.Energy), maps.Clone(u.Block)
	return u
}

// IsZero says whether nothing at all was used.
func (u Usage) IsZero() bool {
	if u.CPU != 0 || u.Switches != 0 || u.Read != 0 || u.Written != 0 || u.Counters != (Counters{}) || u.Wait.Count() != 0 {
		return false
	}
	for _, b := range u.Block {
		if b != (block.Usage{}) {
			return false
		}
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
	a.interval.Wait.Add(d.wait)
	a.interval.Counters[Cycles] += sum(d.cycles)
	a.interval.Counters[Instructions] += sum(d.instructions)
	for i, t := range d.onCPU {
		if i < len(a.onCPU) {
			a.onCPU[i] += t
		}
	}
	for i, c := range d.cycles {
		if i < len(a.cycles) {
			a.cycles[i] += c
		}
	}
}

func (a *account) joules(z energy.Zone, e energy.Microjoules) { a.interval.joules(z, e) }

// delta is the difference of two sensor usages; nothing in it is negative.
type delta struct {
	onCPU         []uint64
	switches      uint64
	read, written uint64
	wait          histogram.Log2
	// cycles and instructions are by package, like onCPU; nil if not counted.
	cycles, instructions []uint64
}

func (d delta) isZero() bool {
	return d.cpu() == 0 && d.switches == 0 && d.read == 0 && d.written == 0 && d.wait.Count() == 0
}

func (d delta) cpu() time.Duration { return time.Duration(sum(d.onCPU)) } // #nosec G115 -- a difference of durations

func sum(parts []uint64) uint64 {
	var s uint64
	for _, p := range parts {
		s += p
	}
	return s
}

func (d delta) usage() Usage {
	u := Usage{CPU: d.cpu(), Switches: d.switches, Read: d.read, Written: d.written, Wait: d.wait}
	u.Counters[Cycles], u.Counters[Instructions] = sum(d.cycles), sum(d.instructions)
	return u
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
		wait:     now.Wait.Since(before.Wait),

		cycles:       aboveEach(now.Cycles, before.Cycles),
		instructions: aboveEach(now.Instructions, before.Instructions),
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
		Wait:     now.Wait.Highest(before.Wait),

		Cycles:       highestEach(now.Cycles, before.Cycles),
		Instructions: highestEach(now.Instructions, before.Instructions),
	}
	for i, t := range now.OnCPU {
		h.OnCPU[i] = t
		if i < len(before.OnCPU) {
			h.OnCPU[i] = max(t, before.OnCPU[i])
		}
	}
	return h
}

func aboveEach(now, before []uint64) []uint64 {
	if now == nil {
		return nil
	}
	out := make([]uint64, len(now))
	for i, v := range now {
		if out[i] = v; i < len(before) {
			out[i] = above(v, before[i])
		}
	}
	return out
}

func highestEach(now, before []uint64) []uint64 {
	if now == nil {
		return nil
	}
	out := slices.Clone(now)
	for i := range min(len(now), len(before)) {
		out[i] = max(now[i], before[i])
	}
	return out
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
