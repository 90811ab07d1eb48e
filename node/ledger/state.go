package ledger

import (
	"github.com/cam-os/edge/energy"
)

// State is what a ledger needs to go on after a restart of the node: totals
// and what was learned, not marks into counters that may have been reset.
type State struct {
	Accounts []AccountState
	Zones    []ZoneState
}

// AccountState is one account's totals.
type AccountState struct {
	Name  string
	Kind  Kind
	Total Usage
}

// ZoneState is one zone's totals and its learned baseline.
type ZoneState struct {
	Zone                                        energy.Zone
	Metered, Agents, System, Idle, Unattributed energy.Microjoules
	Baseline                                    energy.BaselineState
}

// State returns a copy that shares nothing with the ledger.
func (l *Ledger) State() State {
	var s State
	for _, a := range l.Accounts() {
		s.Accounts = append(s.Accounts, AccountState{Name: a.Name, Kind: a.Kind, Total: a.Total})
	}
	s.Zones = l.ZoneStates()
	return s
}

// ZoneStates returns the part of State that Accounts and Zones do not show.
func (l *Ledger) ZoneStates() []ZoneState {
	out := make([]ZoneState, 0, len(l.zones))
	for _, z := range l.Zones() {
		out = append(out, ZoneState{
			Zone: z.Reading.Zone, Metered: z.Metered, Agents: z.Agents, System: z.System,
			Idle: z.Idle, Unattributed: z.Unattributed,
			Baseline: l.zones[z.Reading.Zone].baseline.State(),
		})
	}
	return out
}

func (l *Ledger) restore(s State) {
	for _, a := range s.Accounts {
		kind := a.Kind
		switch a.Name {
		case System, Idle, Unattributed, Retired:
			// The name decides: a damaged kind must not make an agent of it.
		default:
			kind = KindAgent
		}
		l.open(a.Name, kind).total = a.Total.clone()
	}
	for _, zs := range s.Zones {
		z := &zone{pending: make(map[*account]uint64)}
		z.Reading.Zone = zs.Zone
		// Until it is read again.
		z.Reading.State = energy.Lost
		z.Metered, z.Agents, z.System, z.Idle, z.Unattributed = zs.Metered, zs.Agents, zs.System, zs.Idle, zs.Unattributed
		z.baseline.Restore(zs.Baseline)
		z.IdlePower = z.baseline.Power()
		l.zones[zs.Zone] = z
	}
}
