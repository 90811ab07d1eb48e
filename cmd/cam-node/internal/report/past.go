package report

import (
	"time"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// Past turns a series into observations of its steps, oldest first: accounts
// with what each used in the step, and zones with their power. A step where
// nothing was measured has no accounts; at most most of those follow each other.
func Past(points []*camv1.SeriesPoint, step time.Duration, measured Measured, most int) []Observation {
	var out []Observation
	var last time.Time
	for _, p := range points {
		start := p.GetStart().AsTime()
		if !last.IsZero() {
			for range min(most, int(start.Sub(last)/step)-1) {
				out = append(out, Observation{})
			}
		}
		last = start
		out = append(out, observationOf(p, measured))
	}
	return out
}

func observationOf(p *camv1.SeriesPoint, measured Measured) Observation {
	o := Observation{Time: p.GetStart().AsTime(), IntervalNanoseconds: p.GetCoveredNanoseconds(), Measured: measured}
	if o.IntervalNanoseconds == 0 {
		return o
	}
	zones := map[string]int{}
	for _, v := range p.GetValues() {
		kind := kindOf(v.GetAccount())
		u := usage(v.GetUsage(), measured.lacks(kind))
		o.Accounts = append(o.Accounts, Account{Name: v.GetAccount(), Kind: kind, Interval: u})
		for _, e := range u.Energy {
			i, there := zones[e.Zone]
			if !there {
				i = len(o.Zones)
				zones[e.Zone] = i
				o.Zones = append(o.Zones, Zone{Zone: e.Zone})
			}
			o.Zones[i].MeteredMicrojoules += e.Microjoules
		}
	}
	for i, z := range o.Zones {
		o.Zones[i].Microwatts = uint64(float64(z.MeteredMicrojoules) / (float64(o.IntervalNanoseconds) / 1e9))
	}
	return o
}
