package report

import (
	"math"
	"slices"
	"strings"
	"time"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// History is the JSON of `camctl energy`: what each account used in a window,
// within one zone.
type History struct {
	Start                 time.Time        `json:"start"`
	End                   time.Time        `json:"end"`
	ResolutionNanoseconds int64            `json:"resolution_nanoseconds"`
	CoveredNanoseconds    uint64           `json:"covered_nanoseconds"`
	Zone                  string           `json:"zone"`
	Sources               []string         `json:"sources"`
	Microjoules           uint64           `json:"microjoules"`
	Measured              Measured         `json:"measured"` // now
	Accounts              []AccountHistory `json:"accounts"`
	// Zones prove conservation, since the accounts were opened.
	Zones []Zone `json:"zones"`
}

// AccountHistory is one account's part in the window. Its JSON has null for what
// nobody counts.
type AccountHistory struct {
	Name           string   `json:"name"`
	Kind           string   `json:"kind"`
	Microjoules    uint64   `json:"microjoules"`
	MeanMicrowatts float64  `json:"mean_microwatts"`
	Share          float64  `json:"share"`
	CPUNanoseconds uint64   `json:"cpu_nanoseconds"`
	IOReadBytes    uint64   `json:"io_read_bytes"`
	IOWrittenBytes uint64   `json:"io_written_bytes"`
	PerCPUSecond   *float64 `json:"microjoules_per_cpu_second,omitempty"`
	Sources        []string `json:"sources"`
	Points         []Point  `json:"points"`
	Lacking        Lacking  `json:"-"`
}

// Point is one step of the series.
type Point struct {
	Start              time.Time `json:"start"`
	CoveredNanoseconds uint64    `json:"covered_nanoseconds"`
	Microjoules        uint64    `json:"microjoules"`
	CPUNanoseconds     uint64    `json:"cpu_nanoseconds"`
}

// SeriesZones lists the zones that occur in a series.
func SeriesZones(points []*camv1.SeriesPoint) []string {
	var names []string
	for _, p := range points {
		for _, v := range p.GetValues() {
			for _, e := range v.GetUsage().GetEnergy() {
				if !slices.Contains(names, e.GetZone()) {
					names = append(names, e.GetZone())
				}
			}
		}
	}
	return names
}

// FromSeries adds a series up. Shares are of what the listed accounts used, so
// they are shares of the node only when all accounts were asked for.
func FromSeries(s *camv1.SeriesResponse, zone string, zones []Zone, measured Measured) History {
	h := History{
		Zone: zone, Zones: zones, Measured: measured, Sources: []string{}, Accounts: []AccountHistory{},
		ResolutionNanoseconds: int64(s.GetResolution().AsDuration()),
	}
	index := map[string]int{}
	for n, p := range s.GetPoints() {
		start, covered := p.GetStart().AsTime(), p.GetCoveredNanoseconds()
		if n == 0 {
			h.Start = start
		}
		h.End = start.Add(time.Duration(min(covered, 1<<62))) // #nosec G115 -- capped
		h.CoveredNanoseconds += covered
		for _, v := range p.GetValues() {
			i, known := index[v.GetAccount()]
			if !known {
				i = len(h.Accounts)
				index[v.GetAccount()] = i
				h.Accounts = append(h.Accounts, AccountHistory{
					Name: v.GetAccount(), Kind: kindOf(v.GetAccount()), Sources: []string{},
					Lacking: measured.lacks(kindOf(v.GetAccount())),
				})
			}
			u := usage(v.GetUsage(), h.Accounts[i].Lacking)
			e, source, _ := Energy(u, zone)
			a := &h.Accounts[i]
			a.Microjoules += e
			a.CPUNanoseconds += u.CPUNanoseconds
			a.IOReadBytes += u.IOReadBytes
			a.IOWrittenBytes += u.IOWrittenBytes
			a.Sources = addSources(a.Sources, source)
			h.Sources = addSources(h.Sources, source)
			h.Microjoules += e
			a.Points = append(a.Points, Point{start, covered, e, u.CPUNanoseconds})
		}
	}
	for i := range h.Accounts {
		a := &h.Accounts[i]
		if h.CoveredNanoseconds > 0 {
			a.MeanMicrowatts = float64(a.Microjoules) / (float64(h.CoveredNanoseconds) / 1e9)
		}
		if h.Microjoules > 0 {
			a.Share = float64(a.Microjoules) / float64(h.Microjoules)
		}
		if a.CPUNanoseconds > 0 && a.Kind != Idle && a.Kind != Unattributed && len(a.Sources) > 0 {
			per := float64(a.Microjoules) / (float64(a.CPUNanoseconds) / 1e9)
			a.PerCPUSecond = &per
		}
	}
	slices.SortStableFunc(h.Accounts, compareHistories)
	return h
}

// compareHistories puts agents first, the hungriest on top, then the others in
// their usual order.
func compareHistories(a, b AccountHistory) int {
	order := []string{Agent, Retired, System, Idle, Unattributed}
	if d := slices.Index(order, a.Kind) - slices.Index(order, b.Kind); d != 0 {
		return d
	}
	switch {
	case a.Microjoules > b.Microjoules:
		return -1
	case a.Microjoules < b.Microjoules:
		return 1
	}
	return strings.Compare(a.Name, b.Name)
}

func addSources(list []string, joined string) []string {
	for s := range strings.SplitSeq(joined, "+") {
		if s != "" && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list
}

// Watts places an account's mean power on the window's steps; NaN where
// nothing was measured.
func (a AccountHistory) Watts(starts []time.Time) []float64 {
	out := make([]float64, len(starts))
	n := 0
	for i, at := range starts {
		out[i] = math.NaN()
		for n < len(a.Points) && a.Points[n].Start.Before(at) {
			n++
		}
		if n < len(a.Points) && a.Points[n].Start.Equal(at) && a.Points[n].CoveredNanoseconds > 0 {
			out[i] = float64(a.Points[n].Microjoules) / float64(a.Points[n].CoveredNanoseconds) * 1e3
		}
	}
	return out
}

// Has tells whether an account is in the window.
func (h History) Has(name string) bool {
	return slices.ContainsFunc(h.Accounts, func(a AccountHistory) bool { return a.Name == name })
}

// Step is the width of a point that divides a window into at most 120 of
// them, a round time: enough for a curve, and far from the most that the node
// answers with.
func Step(window time.Duration) time.Duration {
	const most = 120
	for _, step := range []time.Duration{
		time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	} {
		if window <= most*step {
			return step
		}
	}
	return 7 * 24 * time.Hour
}
