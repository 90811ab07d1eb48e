package top

import (
	"math"

	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// Kept is how many intervals curves go back.
const Kept = 600

// curve names a history: an account's watts within a zone, its CPUs, or the
// figure of a view.
type curve struct{ view, zone, account string }

// The curves that are no account's watts.
const (
	coresZone = "" // zone of curves that show CPUs kept busy
	whole     = "" // account of a zone's own watts, and of all accounts
	cpuView   = "cpu"
)

// history remembers curves, all equally long and the latest last; NaN where
// there was nothing.
type history struct {
	views  []report.View
	length int
	// behind is how many of the latest values are not shown, while paused.
	behind int
	curves map[curve][]float64
}

// add appends an observation; gap appends that nothing is known.
func (h *history) add(o report.Observation) {
	now := map[curve]float64{}
	zones := report.ZoneNames(o.Zones)
	for _, z := range zones {
		now[curve{cpuView, z, whole}] = float64(report.Meter(o.Zones, z).Microwatts)
		for _, r := range report.Rows(o, z) {
			if r.Metered && !r.Lacking.Energy {
				now[curve{cpuView, z, r.Name}] = r.Microwatts
			}
		}
	}
	for _, r := range report.Rows(o, coresZone) {
		if !r.Lacking.CPU {
			now[curve{cpuView, coresZone, r.Name}] = r.Cores
		}
		now[curve{cpuView, coresZone, whole}] += r.Cores
		for _, v := range h.views {
			if v.Curve == nil || r.Kind != report.Agent && !v.Shows(r.Kind) {
				continue
			}
			if value := v.Curve(r); !math.IsNaN(value) {
				now[curve{v.Name, "", r.Name}] = value
				now[curve{v.Name, "", whole}] += value
			}
		}
	}
	h.append(now)
}

// seed adds what was before the first observation.
func (h *history) seed(past []report.Observation) {
	for _, o := range past[max(0, len(past)-Kept):] {
		if len(o.Accounts) == 0 {
			h.gap()
			continue
		}
		h.add(o)
	}
}

func (h *history) gap() { h.append(nil) }

func (h *history) append(now map[curve]float64) {
	if h.curves == nil {
		h.curves = map[curve][]float64{}
	}
	for c := range now {
		if _, known := h.curves[c]; !known {
			blank := make([]float64, h.length)
			for i := range blank {
				blank[i] = math.NaN()
			}
			h.curves[c] = blank
		}
	}
	h.length++
	over := max(0, h.length-Kept)
	for c, values := range h.curves {
		v, there := now[c]
		if !there {
			v = math.NaN()
		}
		values = append(values, v)[over:]
		if empty(values) {
			delete(h.curves, c)
			continue
		}
		h.curves[c] = values
	}
	h.length -= over
}

func empty(values []float64) bool {
	for _, v := range values {
		if !math.IsNaN(v) {
			return false
		}
	}
	return true
}

// last returns the latest n values of a curve that are to be shown.
func (h *history) last(c curve, n int) []float64 {
	v := h.curves[c]
	v = v[:max(0, len(v)-h.behind)]
	return v[max(0, len(v)-n):]
}

// peak is the highest of the latest n values of some accounts' curves.
func (h *history) peak(of curve, accounts []report.Row, n int) float64 {
	top := 0.0
	for _, a := range accounts {
		top = math.Max(top, text.Highest(h.last(curve{of.view, of.zone, a.Name}, n)))
	}
	return top
}
