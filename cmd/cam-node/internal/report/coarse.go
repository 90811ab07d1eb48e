package report

import "time"

// Steps of figures that may leave the machine: finer ones tell what programs
// compute (PLATYPUS; see node/coarse, which does the same in the node for those
// who may not see fine figures).
const (
	coarseEnergy = 100_000 // µJ
	coarsePower  = 100_000 // µW
	coarseTime   = time.Second
)

// Coarse rounds energy, power and time down, and leaves figures of the interval
// out: they are differences of fine ones. The zones' parts no longer add up.
func Coarse(o Observation) Observation {
	o.Time = o.Time.Truncate(coarseTime)
	o.BoottimeNanoseconds -= o.BoottimeNanoseconds % uint64(coarseTime)
	o.Coarse = true
	o.Breakdown = nil
	o.Moves = []Move{} // they name programs
	o.Self = coarseUsage(o.Self)
	accounts := make([]Account, len(o.Accounts))
	for i, a := range o.Accounts {
		a.Total, a.Interval = coarseUsage(a.Total), Usage{Energy: []ZoneEnergy{}, Lacking: a.Interval.Lacking}
		accounts[i] = a
	}
	o.Accounts = accounts
	zones := make([]Zone, len(o.Zones))
	for i, z := range o.Zones {
		for _, e := range []*uint64{&z.MeteredMicrojoules, &z.AgentsMicrojoules, &z.SystemMicrojoules,
			&z.IdleMicrojoules, &z.UnattributedMicrojoules} {
			*e -= *e % coarseEnergy
		}
		z.Microwatts -= z.Microwatts % coarsePower
		z.IdleMicrowatts -= z.IdleMicrowatts % coarsePower
		zones[i] = z
	}
	o.Zones = zones
	return o
}

func coarseUsage(u Usage) Usage {
	energy := make([]ZoneEnergy, len(u.Energy))
	for i, e := range u.Energy {
		e.Microjoules -= e.Microjoules % coarseEnergy
		energy[i] = e
	}
	u.Energy = energy
	return u
}
