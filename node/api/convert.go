package api

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/energy"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// The values of Provenance.quality.
const (
	measured  = "measured"
	estimated = "estimated"
	simulated = "simulated"
	stale     = "stale"
)

// view is what of an observation a caller sees.
type view struct {
	accounts  map[string]bool // nil: all
	breakdown bool
	coarse    bool
	now       time.Duration // CLOCK_BOOTTIME
}

func (v view) observation(o *observe.Observation) *camv1.Observation {
	out := &camv1.Observation{
		Time:                timestamppb.New(o.Time),
		BoottimeNanoseconds: nanoseconds(o.At),
		IntervalNanoseconds: nanoseconds(o.Interval),
		Sequence:            o.Sequence,
		Sensor:              v.sensor(o),
		Missing:             o.Missing,
		Coarse:              v.coarse,
		Self:                usage(o.Self),
		Measured: &camv1.Measured{
			Agents: o.Measures.Agents, ContextSwitches: o.Measures.Switches, Io: o.Measures.IO,
			RunQueue: o.Measures.Waits, Moves: o.Measures.Moves, Cycles: o.Measures.Cycles,
			Block: o.Further.Block, Controllers: o.Further.Controllers, Network: o.Further.Network,
		},
		Zones: make([]*camv1.Zone, 0, len(o.Zones)),
	}
	for _, a := range o.Accounts {
		if v.accounts == nil || v.accounts[a.Name] {
			out.Accounts = append(out.Accounts, account(a, o.Agents))
		}
	}
	for _, z := range o.Zones {
		out.Zones = append(out.Zones, zone(z))
	}
	if v.breakdown {
		for _, c := range o.Breakdown {
			out.Breakdown = append(out.Breakdown, &camv1.CgroupUsage{Cgroup: c.Cgroup, Interval: usage(c.Usage)})
		}
	}
	for _, p := range o.Probes {
		out.Probes = append(out.Probes, &camv1.Probe{Name: p.Name, Runs: p.Runs, RunNanoseconds: nanoseconds(p.Time)})
	}
	if v.coarse {
		return out
	}
	for _, m := range o.Moves {
		out.Moves = append(out.Moves, move(m))
	}
	return out
}

// sensor tells when the node has stopped measuring, too: figures older than
// three intervals are stale.
func (v view) sensor(o *observe.Observation) *camv1.Provenance {
	p := &camv1.Provenance{Source: string(o.Sensor), Quality: measured, Note: o.SensorNote}
	if o.Sensor == sensor.Procfs {
		p.Quality = estimated
	}
	if age := v.now - o.At; age > 0 {
		p.AgeNanoseconds = nanoseconds(age)
		if age > 3*max(o.Interval, time.Second) {
			p.Quality = stale
		}
	}
	return p
}

func account(a ledger.Account, agents map[string]observe.Agent) *camv1.Account {
	out := &camv1.Account{Name: a.Name, Total: usage(a.Total), Interval: usage(a.Interval)}
	switch a.Kind {
	case ledger.KindAgent:
		out.Kind = camv1.AccountKind_ACCOUNT_KIND_AGENT
	case ledger.KindSystem:
		out.Kind = camv1.AccountKind_ACCOUNT_KIND_SYSTEM
	case ledger.KindIdle:
		out.Kind = camv1.AccountKind_ACCOUNT_KIND_IDLE
	case ledger.KindUnattributed:
		out.Kind = camv1.AccountKind_ACCOUNT_KIND_UNATTRIBUTED
	case ledger.KindRetired:
		out.Kind = camv1.AccountKind_ACCOUNT_KIND_RETIRED
	}
	if agent, ok := agents[a.Name]; ok && a.Kind == ledger.KindAgent {
		out.Cgroup = agent.Cgroup
		out.Cgroups, out.Missing = agent.Cgroups, agent.Lacking
		out.Memory = memory(agent.Memory)
		out.BlockUnattributed = !agent.Parts.Block && (agent.State == observe.Running || agent.State == observe.Empty)
		for _, u := range []*camv1.Usage{out.Total, out.Interval} {
			whole(u, agent.Parts)
		}
		switch agent.State {
		case observe.Running:
			out.State = camv1.AgentState_AGENT_STATE_RUNNING
		case observe.Empty:
			out.State = camv1.AgentState_AGENT_STATE_EMPTY
		case observe.Ended:
			out.State = camv1.AgentState_AGENT_STATE_ENDED
		case observe.Absent:
			out.State = camv1.AgentState_AGENT_STATE_ABSENT
		}
	}
	return out
}

func compareZones(a, b energy.Zone) int {
	return cmp.Or(cmp.Compare(a.Socket, b.Socket), strings.Compare(a.Name, b.Name), strings.Compare(string(a.Source), string(b.Source)))
}

func zone(z ledger.ZoneAccount) *camv1.Zone {
	r := z.Reading
	p := &camv1.Provenance{
		Source: string(r.Zone.Source), RelativeError: r.Error, AgeNanoseconds: nanoseconds(r.Age), Note: r.Note,
		Weighing: string(r.Weighing),
	}
	switch {
	case r.State != energy.Fresh:
		p.Quality = stale
	case r.Zone.Source.Measured():
		p.Quality = measured
	case r.Zone.Source == energy.Simulated:
		p.Quality = simulated
	default:
		p.Quality = estimated
	}
	return &camv1.Zone{
		Zone: r.Zone.Name, Socket: socket(r.Zone), Provenance: p,
		MeteredMicrojoules:      uint64(z.Metered),
		AgentsMicrojoules:       uint64(z.Agents),
		SystemMicrojoules:       uint64(z.System),
		IdleMicrojoules:         uint64(z.Idle),
		UnattributedMicrojoules: uint64(z.Unattributed),
		ResidualMicrojoules:     z.Residual(),
		Microwatts:              uint64(z.Power),
		IdleMicrowatts:          uint64(z.IdlePower),
		Wraps:                   r.Wraps, Resets: r.Resets, Faults: r.Faults,
	}
}

func series(r SeriesResult) *camv1.SeriesResponse {
	out := &camv1.SeriesResponse{Resolution: durationpb.New(r.Resolution)}
	for _, p := range r.Points {
		point := &camv1.SeriesPoint{Start: timestamppb.New(p.Start), CoveredNanoseconds: nanoseconds(p.Covered)}
		for _, name := range slices.Sorted(maps.Keys(p.Usage)) {
			point.Values = append(point.Values, &camv1.SeriesValue{Account: name, Usage: usage(p.Usage[name])})
		}
		out.Points = append(out.Points, point)
	}
	return out
}

func statusResponse(s Status) *camv1.StatusResponse {
	out := &camv1.StatusResponse{Version: s.Version, Started: timestamppb.New(s.Started)}
	for _, f := range s.Findings {
		level := camv1.FindingLevel_FINDING_LEVEL_FAILED
		switch f.Level {
		case OK:
			level = camv1.FindingLevel_FINDING_LEVEL_OK
		case Degraded:
			level = camv1.FindingLevel_FINDING_LEVEL_DEGRADED
		}
		out.Findings = append(out.Findings, &camv1.Finding{Name: f.Name, Level: level, Detail: f.Detail, Remedy: f.Remedy})
	}
	return out
}

func nanoseconds(d time.Duration) uint64 { return uint64(max(d, 0)) } // #nosec G115 -- not negative

func socket(z energy.Zone) int32 { return int32(z.Socket) } // #nosec G115 -- a socket number
