package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// Kinds of accounts. Those that are no agents bear their kind as name
// (node/ledger reserves them).
const (
	Agent        = "agent"
	System       = "system"
	Idle         = "idle"
	Unattributed = "unattributed"
	Retired      = "retired"
)

// kindOf tells the kind by the name, where only names are at hand: no agent
// may bear a reserved one.
func kindOf(name string) string {
	switch name {
	case System, Idle, Unattributed, Retired:
		return name
	}
	return Agent
}

// Row is an account as a person reads it.
type Row struct {
	Name, Kind, State, Cgroup string
	Cores                     float64 // CPUs kept busy: 1 = one
	CPUNanoseconds            uint64
	ReadRate, WriteRate       float64 // bytes per second
	Read, Written             uint64
	Switches                  uint64
	Microwatts                float64
	Microjoules               uint64
	Metered                   bool // there are energy figures at all
	Lacking                   Lacking
	Source                    string
	// What the columns beyond these are made of.
	Seconds         float64 // of the interval
	Interval, Total Further
	Memory          *Memory
}

// Blank tells that there is nothing to show.
func (r Row) Blank() bool {
	return r.CPUNanoseconds == 0 && r.Microjoules == 0 && r.Read+r.Written == 0
}

// Rows returns one row per account, in the node's order. Energy is that of one
// zone, summed over sockets; never over zone names. An account without energy
// in a metered zone used none.
func Rows(o Observation, zone string) []Row {
	rows := make([]Row, 0, len(o.Accounts))
	m := Meter(o.Zones, zone)
	for _, a := range o.Accounts {
		r := row(a.Name, a.Total, a.Interval, o.IntervalNanoseconds, zone)
		r.Kind, r.State, r.Cgroup, r.Memory = a.Kind, a.State, a.Cgroup, a.Memory
		if !r.Metered && m.Sockets > 0 && !r.Lacking.Energy {
			r.Metered, r.Source = true, strings.Join(m.Sources, "+")
		}
		rows = append(rows, r)
	}
	return rows
}

// BreakdownRows returns the cgroups of `system`, with their latest interval in
// the place of totals.
func BreakdownRows(o Observation, zone string) []Row {
	rows := make([]Row, 0, len(o.Breakdown))
	for _, b := range o.Breakdown {
		rows = append(rows, row(b.Cgroup, b.Interval, b.Interval, o.IntervalNanoseconds, zone))
	}
	return rows
}

func row(name string, total, interval Usage, nanoseconds uint64, zone string) Row {
	perSecond := func(n uint64) float64 {
		if nanoseconds == 0 {
			return 0
		}
		return float64(n) / (float64(nanoseconds) / 1e9)
	}
	latest, _, _ := Energy(interval, zone)
	microjoules, source, metered := Energy(total, zone)
	return Row{
		Name: name, Cores: perSecond(interval.CPUNanoseconds) / 1e9, CPUNanoseconds: total.CPUNanoseconds,
		ReadRate: perSecond(interval.IOReadBytes), WriteRate: perSecond(interval.IOWrittenBytes),
		Read: total.IOReadBytes, Written: total.IOWrittenBytes, Switches: total.ContextSwitches,
		Microwatts: perSecond(latest), Microjoules: microjoules, Source: source,
		Metered: metered && (!interval.Lacking.Energy || microjoules > 0), Lacking: interval.Lacking,
		Seconds: float64(nanoseconds) / 1e9, Interval: interval.Further, Total: total.Further,
	}
}

// Energy is what u used within a zone, over its sockets, and from what
// sources; false where the zone was not metered for it.
func Energy(u Usage, zone string) (microjoules uint64, source string, metered bool) {
	var sources []string
	for _, e := range u.Energy {
		if e.Zone != zone {
			continue
		}
		microjoules += e.Microjoules
		metered = true
		if !slices.Contains(sources, e.Source) {
			sources = append(sources, e.Source)
		}
	}
	slices.Sort(sources)
	return microjoules, strings.Join(sources, "+"), metered
}

// zoneOrder is which zone stands for the machine: package is on every RAPL
// machine and in every model; psys is seldom there and often wrong.
var zoneOrder = []string{"package", "psys", "core", "dram", "uncore"}

// PrimaryZone chooses the zone to show; empty without any.
func PrimaryZone(names []string) string {
	for _, z := range zoneOrder {
		if slices.Contains(names, z) {
			return z
		}
	}
	if len(names) > 0 {
		return names[0]
	}
	return ""
}

// ZoneNames lists the names of zones once each.
func ZoneNames(zones []Zone) []string {
	var names []string
	for _, z := range zones {
		if !slices.Contains(names, z.Zone) {
			names = append(names, z.Zone)
		}
	}
	return names
}

// ChooseZone returns the wanted zone, or the primary one where none is wanted.
func ChooseZone(zones []Zone, wanted string) (string, error) {
	names := ZoneNames(zones)
	switch {
	case wanted == "":
		return PrimaryZone(names), nil
	case slices.Contains(names, wanted):
		return wanted, nil
	case len(names) == 0:
		return "", fmt.Errorf("no energy is metered on this node, so there is no zone %q: `camctl doctor` says why", wanted)
	}
	return "", fmt.Errorf("no zone %q on this node: choose one of %s", text.Clean(wanted), strings.Join(names, ", "))
}

// Metering sums up one zone over its sockets.
type Metering struct {
	Zone                                          string
	Sockets                                       int
	Microwatts, IdleMicrowatts                    uint64
	Metered, Agents, System, Idling, Unattributed uint64
	Residual                                      int64
	Sources                                       []string
	Quality                                       string // the worst of its sockets
	RelativeError                                 float64
	AgeNanoseconds                                uint64
	Notes                                         []string
}

// Meter sums a zone up.
func Meter(zones []Zone, zone string) Metering {
	m := Metering{Zone: zone}
	rank := []string{"", "measured", "estimated", "simulated", "stale"}
	for _, z := range zones {
		if z.Zone != zone {
			continue
		}
		m.Sockets++
		m.Microwatts += z.Microwatts
		m.IdleMicrowatts += z.IdleMicrowatts
		m.Metered += z.MeteredMicrojoules
		m.Agents += z.AgentsMicrojoules
		m.System += z.SystemMicrojoules
		m.Idling += z.IdleMicrojoules
		m.Unattributed += z.UnattributedMicrojoules
		m.Residual += z.ResidualMicrojoules
		p := z.Provenance
		if p.Source != "" && !slices.Contains(m.Sources, p.Source) {
			m.Sources = append(m.Sources, p.Source)
		}
		if p.Note != "" && !slices.Contains(m.Notes, p.Note) {
			m.Notes = append(m.Notes, p.Note)
		}
		if slices.Index(rank, p.Quality) > slices.Index(rank, m.Quality) {
			m.Quality = p.Quality
		}
		m.RelativeError = math.Max(m.RelativeError, p.RelativeError)
		m.AgeNanoseconds = max(m.AgeNanoseconds, p.AgeNanoseconds)
	}
	slices.Sort(m.Sources)
	return m
}

// Label says where the joules come from, in few words: "rapl", "model ±50%",
// "SIMULATED". What is simulated is always called so.
func (m Metering) Label() string {
	if m.Sockets == 0 {
		return "not metered"
	}
	parts := make([]string, 0, len(m.Sources))
	for _, s := range m.Sources {
		parts = append(parts, SourceLabel(s))
	}
	s := strings.Join(parts, "+")
	if m.Quality == "simulated" && !strings.Contains(s, "SIMULATED") {
		s = strings.TrimPrefix(s+"+SIMULATED", "+")
	}
	if m.RelativeError > 0 {
		s += fmt.Sprintf(" ±%.0f%%", m.RelativeError*100)
	}
	if m.Quality == "stale" {
		s += " STALE"
	}
	return s
}

// SourceLabel makes simulated figures stand out.
func SourceLabel(source string) string {
	return strings.ReplaceAll(text.Clean(source), "simulated", "SIMULATED")
}

// SortKey is what to sort agents by.
type SortKey string

// The keys.
const (
	ByWatts     SortKey = "watts"
	ByCPU       SortKey = "cpu"
	ByIO        SortKey = "io"
	ByDisk      SortKey = "disk"
	ByLatency   SortKey = "latency"
	ByMemory    SortKey = "memory"
	ByWait      SortKey = "wait"
	ByThrottled SortKey = "throttled"
	ByNetwork   SortKey = "network"
	ByName      SortKey = "name"
)

// SortKeys lists the keys.
func SortKeys() []string {
	var keys []string
	for _, k := range []SortKey{ByWatts, ByCPU, ByIO, ByDisk, ByLatency, ByMemory, ByWait, ByThrottled, ByNetwork, ByName} {
		keys = append(keys, string(k))
	}
	return keys
}

// Split parts the agents from the other accounts.
func Split(rows []Row) (agents, others []Row) {
	for _, r := range rows {
		if r.Kind == Agent {
			agents = append(agents, r)
		} else {
			others = append(others, r)
		}
	}
	return agents, others
}

// Sort orders the agents of o, the largest first; the other accounts stay
// behind them.
func (o *Observation) Sort(zone string, by SortKey) {
	agents, others := Split(Rows(*o, zone))
	Sort(agents, by)
	place := map[string]int{}
	for i, r := range append(agents, others...) {
		place[r.Name] = i
	}
	slices.SortStableFunc(o.Accounts, func(a, b Account) int { return place[a.Name] - place[b.Name] })
}

// Has tells whether there is an account of that name.
func (o Observation) Has(name string) bool {
	return slices.ContainsFunc(o.Accounts, func(a Account) bool { return a.Name == name })
}
