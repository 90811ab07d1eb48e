// Package report turns the node's answers into what people and programs read:
// rows with rates and watts, and JSON with stable names and exact integers.
//
// It is pure: what it returns depends on its arguments only.
package report

import (
	"time"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// Observation is the JSON of `camctl observe`, `agents` and `top`. Numbers are
// JSON numbers (protojson would write 64-bit integers as strings).
type Observation struct {
	Time                time.Time     `json:"time"`
	BoottimeNanoseconds uint64        `json:"boottime_nanoseconds"`
	IntervalNanoseconds uint64        `json:"interval_nanoseconds"`
	Sequence            uint64        `json:"sequence"`
	Sensor              Provenance    `json:"sensor"`
	Measured            Measured      `json:"measured"`
	Accounts            []Account     `json:"accounts"`
	Zones               []Zone        `json:"zones"`
	Breakdown           []CgroupUsage `json:"breakdown,omitempty"`
	Missing             []string      `json:"missing"`
	Coarse              bool          `json:"coarse"`
	Probes              []Probe       `json:"probes"`
	Self                Usage         `json:"self"`
	Moves               []Move        `json:"moves"`
}

// Provenance says how far to trust a figure.
type Provenance struct {
	Source         string  `json:"source"`
	Quality        string  `json:"quality"`
	RelativeError  float64 `json:"relative_error"`
	AgeNanoseconds uint64  `json:"age_nanoseconds"`
	Note           string  `json:"note,omitempty"`
	// Weighing is by what a zone's energy is divided; only zones have it.
	Weighing string `json:"weighing,omitempty"`
}

// Account is one line of the ledger.
type Account struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	State    string `json:"state,omitempty"`
	Cgroup   string `json:"cgroup,omitempty"`
	Total    Usage  `json:"total"`
	Interval Usage  `json:"interval"`
	// Memory is null where nobody measures it: of agents without the memory
	// controller, and of accounts that are no agents.
	Memory *Memory `json:"memory"`
	// Cgroups are all of an agent's, the newest first; empty where the node does
	// not say. NotMeasured is what its cgroups lack, with the remedy.
	Cgroups     []string `json:"cgroups,omitempty"`
	NotMeasured []string `json:"not_measured,omitempty"`
}

// Usage is an amount: a total or what one interval used. Its JSON has null for
// what nobody counted.
type Usage struct {
	CPUNanoseconds  uint64       `json:"cpu_nanoseconds"`
	ContextSwitches uint64       `json:"context_switches"`
	IOReadBytes     uint64       `json:"io_read_bytes"`
	IOWrittenBytes  uint64       `json:"io_written_bytes"`
	Energy          []ZoneEnergy `json:"energy"`
	Further
	Lacking Lacking `json:"-"`
}

// ZoneEnergy is energy within one zone; never sum over zone names.
type ZoneEnergy struct {
	Zone        string `json:"zone"`
	Socket      int32  `json:"socket"`
	Microjoules uint64 `json:"microjoules"`
	Source      string `json:"source"`
}

// Zone is where the joules of one metered zone went.
type Zone struct {
	Zone                    string     `json:"zone"`
	Socket                  int32      `json:"socket"`
	Provenance              Provenance `json:"provenance"`
	MeteredMicrojoules      uint64     `json:"metered_microjoules"`
	AgentsMicrojoules       uint64     `json:"agents_microjoules"`
	SystemMicrojoules       uint64     `json:"system_microjoules"`
	IdleMicrojoules         uint64     `json:"idle_microjoules"`
	UnattributedMicrojoules uint64     `json:"unattributed_microjoules"`
	ResidualMicrojoules     int64      `json:"residual_microjoules"`
	Microwatts              uint64     `json:"microwatts"`
	IdleMicrowatts          uint64     `json:"idle_microwatts"`
	Wraps                   uint64     `json:"wraps"`
	Resets                  uint64     `json:"resets"`
	Faults                  uint64     `json:"faults"`
}

// CgroupUsage is one cgroup's part of `system`.
type CgroupUsage struct {
	Cgroup   string `json:"cgroup"`
	Interval Usage  `json:"interval"`
}

// Probe is what one kernel program costs.
type Probe struct {
	Name           string `json:"name"`
	Runs           uint64 `json:"runs"`
	RunNanoseconds uint64 `json:"run_nanoseconds"`
}

// FromObservation converts what the node sent; nil gives an empty one. Lists
// are never null in JSON.
func FromObservation(o *camv1.Observation) Observation {
	out := Observation{
		Time:                o.GetTime().AsTime(),
		BoottimeNanoseconds: o.GetBoottimeNanoseconds(),
		IntervalNanoseconds: o.GetIntervalNanoseconds(),
		Sequence:            o.GetSequence(),
		Sensor:              provenance(o.GetSensor()),
		Measured:            FromMeasured(o.GetMeasured()),
		Accounts:            make([]Account, 0, len(o.GetAccounts())),
		Zones:               FromZones(o.GetZones()),
		Missing:             append([]string{}, o.GetMissing()...),
		Coarse:              o.GetCoarse(),
		Probes:              make([]Probe, 0, len(o.GetProbes())),
		Self:                usage(o.GetSelf(), Lacking{Switches: true, IO: true}.beyond()),
		Moves:               moves(o.GetMoves()),
	}
	for _, a := range o.GetAccounts() {
		lacks := out.Measured.lacks(kind(a.GetKind()))
		lacks.Block = lacks.Block || a.GetBlockUnattributed()
		account := Account{
			Name: a.GetName(), Kind: kind(a.GetKind()), State: state(a), Cgroup: a.GetCgroup(),
			Total: usage(a.GetTotal(), lacks), Interval: usage(a.GetInterval(), lacks), Memory: memory(a.GetMemory()),
			Cgroups: a.GetCgroups(), NotMeasured: a.GetMissing(),
		}
		if account.Memory != nil && account.Total.Memory == nil {
			account.Total.Memory = &MemoryEvents{}
		}
		account.Interval.as(account.Total.Further)
		out.Accounts = append(out.Accounts, account)
	}
	for _, b := range o.GetBreakdown() {
		out.Breakdown = append(out.Breakdown, CgroupUsage{b.GetCgroup(), usage(b.GetInterval(), out.Measured.lacks(System))})
	}
	for _, p := range o.GetProbes() {
		out.Probes = append(out.Probes, Probe{p.GetName(), p.GetRuns(), p.GetRunNanoseconds()})
	}
	return out
}

// FromZones converts the zones alone.
func FromZones(zones []*camv1.Zone) []Zone {
	out := make([]Zone, 0, len(zones))
	for _, z := range zones {
		out = append(out, Zone{
			Zone: z.GetZone(), Socket: z.GetSocket(), Provenance: provenance(z.GetProvenance()),
			MeteredMicrojoules: z.GetMeteredMicrojoules(), AgentsMicrojoules: z.GetAgentsMicrojoules(),
			SystemMicrojoules: z.GetSystemMicrojoules(), IdleMicrojoules: z.GetIdleMicrojoules(),
			UnattributedMicrojoules: z.GetUnattributedMicrojoules(), ResidualMicrojoules: z.GetResidualMicrojoules(),
			Microwatts: z.GetMicrowatts(), IdleMicrowatts: z.GetIdleMicrowatts(),
			Wraps: z.GetWraps(), Resets: z.GetResets(), Faults: z.GetFaults(),
		})
	}
	return out
}

func provenance(p *camv1.Provenance) Provenance {
	return Provenance{p.GetSource(), p.GetQuality(), p.GetRelativeError(), p.GetAgeNanoseconds(), p.GetNote(), p.GetWeighing()}
}

func usage(u *camv1.Usage, lacks Lacking) Usage {
	out := Usage{
		CPUNanoseconds: u.GetCpuNanoseconds(), ContextSwitches: u.GetContextSwitches(),
		IOReadBytes: u.GetIoReadBytes(), IOWrittenBytes: u.GetIoWrittenBytes(),
		Energy: make([]ZoneEnergy, 0, len(u.GetEnergy())), Lacking: lacks,
	}
	for _, e := range u.GetEnergy() {
		out.Energy = append(out.Energy, ZoneEnergy{e.GetZone(), e.GetSocket(), e.GetMicrojoules(), e.GetSource()})
	}
	out.Further = furtherOf(u, lacks)
	return out
}

func kind(k camv1.AccountKind) string {
	switch k {
	case camv1.AccountKind_ACCOUNT_KIND_AGENT:
		return Agent
	case camv1.AccountKind_ACCOUNT_KIND_SYSTEM:
		return System
	case camv1.AccountKind_ACCOUNT_KIND_IDLE:
		return Idle
	case camv1.AccountKind_ACCOUNT_KIND_UNATTRIBUTED:
		return Unattributed
	case camv1.AccountKind_ACCOUNT_KIND_RETIRED:
		return Retired
	}
	return "unknown"
}

func state(a *camv1.Account) string {
	if a.GetKind() != camv1.AccountKind_ACCOUNT_KIND_AGENT {
		return ""
	}
	switch a.GetState() {
	case camv1.AgentState_AGENT_STATE_RUNNING:
		return "running"
	case camv1.AgentState_AGENT_STATE_EMPTY:
		return "empty"
	case camv1.AgentState_AGENT_STATE_ENDED:
		return "ended"
	case camv1.AgentState_AGENT_STATE_ABSENT:
		return "absent"
	}
	return "unknown"
}
