package store

import (
	"math"
	"time"
)

// Zone is an energy domain, as the meters name it.
type Zone struct {
	Name   string // package, core, uncore, dram, psys
	Socket int    // physical package id; -1 spans them
	Source string // rapl, model, simulated
}

// Usage is an amount: a total or a difference. Sums saturate, they never wrap.
type Usage struct {
	CPU           time.Duration
	Switches      uint64
	Read, Written uint64          // bytes
	Energy        map[Zone]uint64 // µJ; zones overlap and are never summed over names
	// Figures are further amounts by the caller's names, which carry the unit.
	Figures map[string]uint64
}

// Value is what one account used within a point.
type Value struct {
	Account string
	Usage   Usage
}

// Point is what was used within one stretch of time.
type Point struct {
	// Start is the wall clock at the start. It may jump; points are ordered
	// and kept by Boottime.
	Start time.Time
	// Boottime is CLOCK_BOOTTIME at the start. Zero lets Append take the
	// present, less Covered.
	Boottime time.Duration
	// Covered is how much of the time from Start was measured. Below zero
	// counts as zero.
	Covered time.Duration
	// Values holds differences, at most one an account is usual; several of
	// one account are added.
	Values []Value
}

// AgentState is what only an agent's account has.
type AgentState struct {
	Cgroup   string // path below the cgroup2 root
	Origin   string // who made it: the caller's word
	Opened   time.Time
	LastSeen time.Time
	Ended    time.Time // zero while it lives
}

// AccountState is one account of the ledger.
type AccountState struct {
	Name  string
	Kind  uint8       // the caller's word
	Agent *AgentState // nil for accounts that are no agent
	Total Usage       // cumulative
}

// ZoneState is one zone of the ledger, cumulative, in µJ.
type ZoneState struct {
	Zone         Zone
	Metered      uint64
	Agents       uint64
	System       uint64
	Idle         uint64
	Unattributed uint64
	// Baseline is learned state that the store does not look into.
	Baseline []byte
}

// Ledger is the whole state of the accounts.
type Ledger struct {
	BootID   string
	Sequence uint64 // the caller's word
	Accounts []AccountState
	Zones    []ZoneState
}

// add adds b to u in place.
func (u *Usage) add(b Usage) {
	u.CPU = addDuration(u.CPU, b.CPU)
	u.Switches = addSat(u.Switches, b.Switches)
	u.Read = addSat(u.Read, b.Read)
	u.Written = addSat(u.Written, b.Written)
	for z, e := range b.Energy {
		if e == 0 {
			continue
		}
		if u.Energy == nil {
			u.Energy = make(map[Zone]uint64, len(b.Energy))
		}
		u.Energy[z] = addSat(u.Energy[z], e)
	}
	for f, v := range b.Figures {
		u.figure(f, v)
	}
}

// figure adds to one figure.
func (u *Usage) figure(name string, v uint64) {
	if v == 0 {
		return
	}
	if u.Figures == nil {
		u.Figures = make(map[string]uint64)
	}
	u.Figures[name] = addSat(u.Figures[name], v)
}

// max raises each figure of u to that of b and says whether any was lower.
func (u *Usage) max(b Usage) (raised bool) {
	if b.CPU > u.CPU {
		u.CPU, raised = b.CPU, true
	}
	for _, f := range []struct {
		mine  *uint64
		other uint64
	}{{&u.Switches, b.Switches}, {&u.Read, b.Read}, {&u.Written, b.Written}} {
		if f.other > *f.mine {
			*f.mine, raised = f.other, true
		}
	}
	for z, e := range b.Energy {
		if e > u.Energy[z] {
			if u.Energy == nil {
				u.Energy = make(map[Zone]uint64)
			}
			u.Energy[z], raised = e, true
		}
	}
	for f, v := range b.Figures {
		if v > u.Figures[f] {
			if u.Figures == nil {
				u.Figures = make(map[string]uint64)
			}
			u.Figures[f], raised = v, true
		}
	}
	return raised
}

func (u Usage) zero() bool {
	if u.CPU > 0 || u.Switches|u.Read|u.Written != 0 {
		return false
	}
	for _, e := range u.Energy {
		if e != 0 {
			return false
		}
	}
	for _, v := range u.Figures {
		if v != 0 {
			return false
		}
	}
	return true
}

func addSat(a, b uint64) uint64 {
	if s := a + b; s >= a {
		return s
	}
	return math.MaxUint64
}

// addDuration adds without wrapping; less than zero counts as zero, since no
// stored time is negative.
func addDuration(a, b time.Duration) time.Duration {
	a, b = max(a, 0), max(b, 0)
	if s := a + b; s >= a {
		return s
	}
	return math.MaxInt64
}
