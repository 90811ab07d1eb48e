package node

import (
	"encoding/json"

	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
	"github.com/cam-os/edge/store"
)

// saved is the state of the accounts as the store keeps it.
func saved(o *observe.Observation, zones []ledger.ZoneState) store.Ledger {
	out := store.Ledger{Sequence: o.Sequence, Accounts: make([]store.AccountState, 0, len(o.Accounts))}
	for _, a := range o.Accounts {
		as := store.AccountState{Name: a.Name, Kind: uint8(a.Kind), Total: storeUsage(a.Total)}
		if agent, ok := o.Agents[a.Name]; ok && a.Kind == ledger.KindAgent {
			as.Agent = &store.AgentState{Cgroup: agent.Cgroup}
		}
		out.Accounts = append(out.Accounts, as)
	}
	for _, z := range zones {
		baseline, err := json.Marshal(z.Baseline)
		if err != nil {
			baseline = nil // learned again
		}
		out.Zones = append(out.Zones, store.ZoneState{
			Zone: storeZone(z.Zone), Metered: uint64(z.Metered), Agents: uint64(z.Agents), System: uint64(z.System),
			Idle: uint64(z.Idle), Unattributed: uint64(z.Unattributed), Baseline: baseline,
		})
	}
	return out
}

// restored is the inverse of saved.
func restored(l store.Ledger) (ledger.State, []observe.Agent) {
	var s ledger.State
	var agents []observe.Agent
	for _, a := range l.Accounts {
		s.Accounts = append(s.Accounts, ledger.AccountState{Name: a.Name, Kind: ledger.Kind(a.Kind), Total: ledgerUsage(a.Total)})
		if a.Agent != nil {
			agents = append(agents, observe.Agent{Name: a.Name, Cgroup: a.Agent.Cgroup, State: observe.Ended})
		}
	}
	for _, z := range l.Zones {
		var baseline energy.BaselineState
		if json.Unmarshal(z.Baseline, &baseline) != nil {
			baseline = energy.BaselineState{} // learned again
		}
		s.Zones = append(s.Zones, ledger.ZoneState{
			Zone: ledgerZone(z.Zone), Metered: energy.Microjoules(z.Metered), Agents: energy.Microjoules(z.Agents),
			System: energy.Microjoules(z.System), Idle: energy.Microjoules(z.Idle),
			Unattributed: energy.Microjoules(z.Unattributed), Baseline: baseline,
		})
	}
	return s, agents
}

// point is the latest interval, for the series.
func point(o *observe.Observation) store.Point {
	p := store.Point{Start: o.Time.Add(-o.Interval), Boottime: o.At - o.Interval, Covered: o.Interval}
	for _, a := range o.Accounts {
		if !a.Interval.IsZero() {
			p.Values = append(p.Values, store.Value{Account: a.Name, Usage: storeUsage(a.Interval)})
		}
	}
	return p
}

func storeUsage(u ledger.Usage) store.Usage {
	out := store.Usage{CPU: u.CPU, Switches: u.Switches, Read: u.Read, Written: u.Written, Figures: figures(u)}
	if len(u.Energy) > 0 {
		out.Energy = make(map[store.Zone]uint64, len(u.Energy))
		for z, e := range u.Energy {
			out.Energy[storeZone(z)] = uint64(e)
		}
	}
	return out
}

func ledgerUsage(u store.Usage) ledger.Usage {
	out := ledger.Usage{CPU: u.CPU, Switches: u.Switches, Read: u.Read, Written: u.Written}
	for name, v := range u.Figures {
		figure(&out, name, v)
	}
	if len(u.Energy) > 0 {
		out.Energy = make(map[energy.Zone]energy.Microjoules, len(u.Energy))
		for z, e := range u.Energy {
			out.Energy[ledgerZone(z)] = energy.Microjoules(e)
		}
	}
	return out
}

func storeZone(z energy.Zone) store.Zone {
	return store.Zone{Name: z.Name, Socket: z.Socket, Source: string(z.Source)}
}

func ledgerZone(z store.Zone) energy.Zone {
	return energy.Zone{Name: z.Name, Socket: z.Socket, Source: energy.Source(z.Source)}
}
