package report

import (
	"encoding/json"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// Measured says which figures the node's sensor has.
type Measured struct {
	// Agents: figures of agents apart from the rest of the machine.
	Agents          bool `json:"agents"`
	ContextSwitches bool `json:"context_switches"`
	IO              bool `json:"io"`
	RunQueue        bool `json:"run_queue"`
	Block           bool `json:"block"`
	// Controllers: throttling, pressure and memory, of agents whose cgroups
	// have the kernel's controllers.
	Controllers bool `json:"controllers"`
	Network     bool `json:"network"`
	Moves       bool `json:"moves"`
	Cycles      bool `json:"cycles"`
}

// FromMeasured takes a node that does not say, an older one, to measure all
// that older ones did.
func FromMeasured(m *camv1.Measured) Measured {
	if m == nil {
		return Measured{Agents: true, ContextSwitches: true, IO: true}
	}
	return Measured{m.GetAgents(), m.GetContextSwitches(), m.GetIo(),
		m.GetRunQueue(), m.GetBlock(), m.GetControllers(), m.GetNetwork(), m.GetMoves(), m.GetCycles()}
}

// lacks is what of an account's figures nobody counts now.
func (m Measured) lacks(kind string) Lacking {
	agent := kind == Agent && !m.Agents
	l := Lacking{CPU: agent, Energy: agent, Switches: agent || !m.ContextSwitches, IO: agent || !m.IO}
	l.Waits, l.Cycles, l.Moves = agent || !m.RunQueue, agent || !m.Cycles, agent || !m.Moves
	l.Block, l.Network = !m.Block, !m.Network || kind != Agent
	if kind == Idle {
		return l.beyond() // it is energy alone
	}
	return l
}

// Lacking marks figures that nobody counts now. One that is not 0 is of an
// earlier run, which could: it is shown.
type Lacking struct {
	CPU, Switches, IO, Energy            bool
	Waits, Block, Network, Moves, Cycles bool
}

// beyond is l without any of Further's figures.
func (l Lacking) beyond() Lacking {
	l.Waits, l.Block, l.Network, l.Moves, l.Cycles = true, true, true, true, true
	return l
}

// known is n, or nil when it is 0 because nobody counted.
func known(n uint64, lacking bool) *uint64 {
	if lacking && n == 0 {
		return nil
	}
	return &n
}

// MarshalJSON implements json.Marshaler.
func (u Usage) MarshalJSON() ([]byte, error) {
	energy := u.Energy
	if u.Lacking.Energy && len(energy) == 0 {
		energy = nil
	}
	return json.Marshal(struct {
		CPUNanoseconds  *uint64      `json:"cpu_nanoseconds"`
		ContextSwitches *uint64      `json:"context_switches"`
		IOReadBytes     *uint64      `json:"io_read_bytes"`
		IOWrittenBytes  *uint64      `json:"io_written_bytes"`
		Energy          []ZoneEnergy `json:"energy"`
		Further
	}{
		known(u.CPUNanoseconds, u.Lacking.CPU), known(u.ContextSwitches, u.Lacking.Switches),
		known(u.IOReadBytes, u.Lacking.IO), known(u.IOWrittenBytes, u.Lacking.IO), energy,
		u.Further,
	})
}

// MarshalJSON implements json.Marshaler.
func (a AccountHistory) MarshalJSON() ([]byte, error) {
	mean, share := &a.MeanMicrowatts, &a.Share
	if known(a.Microjoules, a.Lacking.Energy) == nil {
		mean, share = nil, nil
	}
	return json.Marshal(struct {
		Name           string   `json:"name"`
		Kind           string   `json:"kind"`
		Microjoules    *uint64  `json:"microjoules"`
		MeanMicrowatts *float64 `json:"mean_microwatts"`
		Share          *float64 `json:"share"`
		CPUNanoseconds *uint64  `json:"cpu_nanoseconds"`
		IOReadBytes    *uint64  `json:"io_read_bytes"`
		IOWrittenBytes *uint64  `json:"io_written_bytes"`
		PerCPUSecond   *float64 `json:"microjoules_per_cpu_second,omitempty"`
		Sources        []string `json:"sources"`
		Points         []Point  `json:"points"`
	}{
		a.Name, a.Kind, known(a.Microjoules, a.Lacking.Energy), mean, share, known(a.CPUNanoseconds, a.Lacking.CPU),
		known(a.IOReadBytes, a.Lacking.IO), known(a.IOWrittenBytes, a.Lacking.IO), a.PerCPUSecond, a.Sources, a.Points,
	})
}
