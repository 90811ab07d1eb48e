package report

import (
	"slices"
	"time"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// Page is the JSON of `camctl agent`: one agent with its past.
type Page struct {
	Time                time.Time  `json:"time"`
	IntervalNanoseconds uint64     `json:"interval_nanoseconds"`
	Sensor              Provenance `json:"sensor"`
	Measured            Measured   `json:"measured"`
	Coarse              bool       `json:"coarse"`
	Agent               Account    `json:"agent"`
	Zones               []Zone     `json:"zones"`
	// NotMeasured says what is not measured of this agent, with the remedy.
	NotMeasured []string `json:"not_measured"`
	// Moves are those of its tasks that left it, newest last.
	Moves []Move `json:"moves"`
	// Past is null where the caller may not see it.
	Past *PastUsage `json:"past"`
}

// PastUsage is what an account used in a window.
type PastUsage struct {
	SinceNanoseconds      int64       `json:"since_nanoseconds"`
	StepNanoseconds       int64       `json:"step_nanoseconds"`
	ResolutionNanoseconds int64       `json:"resolution_nanoseconds"`
	CoveredNanoseconds    uint64      `json:"covered_nanoseconds"`
	Points                []PastPoint `json:"points"`
}

// PastPoint is one step; a step in which nothing was measured has no point.
type PastPoint struct {
	Start              time.Time `json:"start"`
	CoveredNanoseconds uint64    `json:"covered_nanoseconds"`
	Usage              Usage     `json:"usage"`
}

// AgentPage makes the page of an account that o has.
func AgentPage(o Observation, name string, past *PastUsage) Page {
	i := slices.IndexFunc(o.Accounts, func(a Account) bool { return a.Name == name })
	p := Page{
		Time: o.Time, IntervalNanoseconds: o.IntervalNanoseconds, Sensor: o.Sensor, Measured: o.Measured, Coarse: o.Coarse,
		Agent: o.Accounts[i], Zones: o.Zones, Moves: []Move{}, Past: past,
	}
	for _, m := range o.Moves {
		if m.From == name || m.To == name {
			p.Moves = append(p.Moves, m)
		}
	}
	p.NotMeasured = slices.Concat([]string{}, p.Agent.NotMeasured, o.Missing)
	return p
}

// FromPast takes one account out of a series.
func FromPast(s *camv1.SeriesResponse, name string, since, step time.Duration, measured Measured) *PastUsage {
	p := &PastUsage{
		SinceNanoseconds: int64(since), StepNanoseconds: int64(step),
		ResolutionNanoseconds: int64(s.GetResolution().AsDuration()), Points: []PastPoint{},
	}
	for _, point := range s.GetPoints() {
		p.CoveredNanoseconds += point.GetCoveredNanoseconds()
		u := usage(nil, measured.lacks(kindOf(name))) // covered, and nothing used
		for _, v := range point.GetValues() {
			if v.GetAccount() == name {
				u = usage(v.GetUsage(), measured.lacks(kindOf(name)))
			}
		}
		p.Points = append(p.Points, PastPoint{point.GetStart().AsTime(), point.GetCoveredNanoseconds(), u})
	}
	return p
}

// Used tells whether the account used anything in the window.
func (p *PastUsage) Used() bool {
	return p != nil && slices.ContainsFunc(p.Points, func(q PastPoint) bool {
		return q.Usage.CPUNanoseconds > 0 || len(q.Usage.Energy) > 0
	})
}

// rows places the points on the window's steps: a row for each of the latest n
// steps, nil where nothing was measured.
func (p *PastUsage) rows(agent Account, zone string, end time.Time) []*Row {
	step := time.Duration(p.StepNanoseconds)
	if step <= 0 {
		return nil
	}
	n := int(time.Duration(p.SinceNanoseconds) / step)
	out := make([]*Row, max(n, 1))
	_, _, metered := Energy(agent.Total, zone)
	for _, q := range p.Points {
		i := len(out) - 1 - int(end.Sub(q.Start)/step)
		if i < 0 || i >= len(out) || q.CoveredNanoseconds == 0 {
			continue
		}
		q.Usage.as(agent.Total.Further)
		r := row(agent.Name, q.Usage, q.Usage, q.CoveredNanoseconds, zone)
		r.Kind = agent.Kind
		r.Metered = r.Metered || metered && !r.Lacking.Energy // it used none
		out[i] = &r
	}
	return out
}
