package ledger

import (
	"time"

	"github.com/cam-os/edge/ebpf/block"
	"github.com/cam-os/edge/ebpf/histogram"
	"github.com/cam-os/edge/energy"
)

// Names of the accounts that are not agents. No agent may be called so.
const (
	// System is everything that is no agent.
	System = "system"
	// Idle is the energy that a quiet machine draws anyway.
	Idle = "idle"
	// Unattributed is what was metered but cannot be charged to anybody.
	Unattributed = "unattributed"
	// Retired is the sum of ended agents whose own accounts were folded, so
	// that their number stays bounded.
	Retired = "retired"
)

// Kind of an account.
type Kind uint8

const (
	KindAgent Kind = iota
	KindSystem
	KindIdle
	KindUnattributed
	KindRetired
)

// Usage is an amount: a total or a difference.
type Usage struct {
	CPU      time.Duration
	Switches uint64
	// Read and Written are bytes fetched for, and dirtied or sent by, the
	// account's own tasks: a writer's own rate, ahead of what writeback does
	// later (Block).
	Read, Written uint64
	// Energy within each zone; zones overlap and are never summed over names.
	Energy map[energy.Zone]energy.Microjoules
	// Wait is how long tasks were ready to run before they ran.
	Wait     histogram.Log2
	Counters Counters
	// Block is what reached the disks.
	Block map[BlockKey]block.Usage
}

// Account is one line of the ledger. Total never goes back.
type Account struct {
	Name     string
	Kind     Kind
	Total    Usage
	Interval Usage
}

// ZoneAccount is where the joules of one zone went, since the account opened.
// Agents + System + Idle + Unattributed = Metered, exactly; Agents includes
// Retired.
type ZoneAccount struct {
	Reading      energy.Reading
	Metered      energy.Microjoules
	Agents       energy.Microjoules
	System       energy.Microjoules
	Idle         energy.Microjoules
	Unattributed energy.Microjoules
	// Power is the mean over the latest interval.
	Power energy.Microwatts
	// IdlePower is the learned or configured power of a quiet machine.
	IdlePower energy.Microwatts
}

// Residual is metered minus all parts: the invariant, always 0.
func (z ZoneAccount) Residual() int64 {
	return int64(z.Metered - z.Agents - z.System - z.Idle - z.Unattributed) // #nosec G115 -- wraps to the signed difference
}
