package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/cam-os/edge/ebpf/block"
	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/energy"
)

// Ledger holds all accounts. It must not be used concurrently.
type Ledger struct {
	accounts map[string]*account
	sorted   []*account // by kind, then name: the order that Divide sees
	system   *account
	nobody   *account
	idle     *account
	zones    map[energy.Zone]*zone
	prev     map[cgroup.ID]sensor.Usage
	overflow sensor.Usage
	// Of the groups and the disks, as they were last seen.
	groups        map[cgroup.ID]Counters
	blocks        map[block.Key]block.Usage // nil: never
	unseen        map[block.Key]block.Usage // what the disks did and no program saw
	blockOverflow block.Usage

	at      time.Duration
	started bool
	// Of the interval that Charge took and Divide ends.
	topology sensor.Topology
	cpus     []int
	elapsed  time.Duration
	first    bool
	busy     []time.Duration
	counted  bool // cycles are
}

type account struct {
	name     string
	kind     Kind
	total    Usage
	interval Usage
	onCPU    []uint64 // this interval's nanoseconds, by package
	cycles   []uint64 // and cycles, where they are counted
}

type zone struct {
	ZoneAccount
	last     energy.Microjoules // of the reading
	seen     bool
	baseline energy.Baseline
	// What was done since the counter last moved.
	pending map[*account]uint64
	elapsed time.Duration
	busy    time.Duration
	cpus    int
}

// Interval is one look of the sensor, and what is needed to read it.
type Interval struct {
	Snapshot *sensor.Snapshot
	Topology sensor.Topology
	// CPUs is the number of online CPUs by package index.
	CPUs []int
	// Owner names the agent that a cgroup belongs to, "" for none.
	Owner func(cgroup.ID) string
	// Cycles says that the sensor counts them: they weigh energy, not CPU time.
	Cycles bool
	// Groups and Blocks are what else is measured; both may be empty.
	Groups []Group
	Blocks Blocks
}

// Charge is what one cgroup used in an interval.
type Charge struct {
	Cgroup cgroup.ID
	Owner  string
	Usage  Usage // without energy
}

// New opens a ledger with the accounts of an earlier one.
func New(s State) *Ledger {
	l := &Ledger{
		accounts: make(map[string]*account),
		zones:    make(map[energy.Zone]*zone),
		prev:     make(map[cgroup.ID]sensor.Usage),
	}
	l.system = l.open(System, KindSystem)
	l.idle = l.open(Idle, KindIdle)
	l.nobody = l.open(Unattributed, KindUnattributed)
	l.open(Retired, KindRetired)
	l.restore(s)
	return l
}

func (l *Ledger) open(name string, kind Kind) *account {
	if a, ok := l.accounts[name]; ok {
		return a
	}
	a := &account{name: name, kind: kind, onCPU: make([]uint64, len(l.topology.Packages)), cycles: make([]uint64, len(l.topology.Packages))}
	l.accounts[name] = a
	l.sorted = append(l.sorted, a)
	slices.SortFunc(l.sorted, func(a, b *account) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
	})
	return a
}

// Open makes sure that an agent has an account.
func (l *Ledger) Open(agent string) { l.open(agent, KindAgent) }

// Retire folds an agent's account into the account named Retired: the sums
// stay what they were, the name is gone.
func (l *Ledger) Retire(agent string) {
	a, ok := l.accounts[agent]
	if !ok || a.kind != KindAgent {
		return
	}
	r := l.accounts[Retired]
	r.total.add(a.total)
	for _, z := range l.zones {
		if w := z.pending[a]; w > 0 {
			z.pending[r] += w
			delete(z.pending, a)
		}
	}
	delete(l.accounts, agent)
	l.sorted = slices.DeleteFunc(l.sorted, func(b *account) bool { return b == a })
}

// Has says whether an account of that name is open.
func (l *Ledger) Has(name string) bool { _, ok := l.accounts[name]; return ok }

// Charge begins an interval: it charges CPU time, switches and bytes, and
// returns what each cgroup used. The first Charge after New only sets the
// marks that later ones differ from. Divide ends the interval.
func (l *Ledger) Charge(in Interval) []Charge {
	packages := len(in.Topology.Packages)
	for _, a := range l.sorted {
		a.interval = Usage{}
		a.onCPU, a.cycles = resized(a.onCPU, packages), resized(a.cycles, packages)
	}
	l.counted = in.Cycles
	snap := in.Snapshot
	l.topology, l.cpus = in.Topology, in.CPUs
	l.elapsed, l.first = max(snap.At-l.at, 0), !l.started
	l.at, l.started = snap.At, true

	charges := make([]Charge, 0, len(snap.Cgroups))
	next := make(map[cgroup.ID]sensor.Usage, len(snap.Cgroups))
	for id, u := range snap.Cgroups {
		d := difference(u, l.prev[id])
		next[id] = highest(u, l.prev[id])
		if l.first || d.isZero() {
			continue
		}
		owner := in.Owner(id)
		l.accountOf(owner).charge(d)
		charges = append(charges, Charge{Cgroup: id, Owner: owner, Usage: d.usage()})
	}
	before := l.prev
	l.prev = next
	l.chargeGroups(in.Groups, before)
	l.chargeBlocks(in.Blocks)
	l.chargeMoves(snap.Moves, in.Owner)
	if d := difference(snap.Overflow, l.overflow); !l.first {
		l.nobody.charge(d)
	}
	l.overflow = highest(snap.Overflow, l.overflow)
	for len(l.busy) < packages {
		l.busy = append(l.busy, 0)
	}
	for _, a := range l.sorted {
		for p, t := range a.onCPU {
			l.busy[p] += time.Duration(t) // #nosec G115 -- nanoseconds of one interval
		}
	}
	return charges
}

// Busy is the on-CPU time of all that was charged since New, by package index.
func (l *Ledger) Busy() []time.Duration { return slices.Clone(l.busy) }

// Divide ends the interval that Charge began: it divides the joules of every
// zone.
func (l *Ledger) Divide(readings []energy.Reading) {
	for _, r := range readings {
		l.meter(r)
	}
	for _, z := range l.zones {
		// Power is of this interval; a zone that was not read has none.
		if !slices.ContainsFunc(readings, func(r energy.Reading) bool { return r.Zone == z.Reading.Zone }) {
			z.Power = 0
		}
	}
	for _, a := range l.sorted {
		a.total.add(a.interval)
	}
}

// meter divides what one zone used since its counter last moved.
func (l *Ledger) meter(r energy.Reading) {
	z := l.zones[r.Zone]
	if z == nil {
		z = &zone{pending: make(map[*account]uint64)}
		l.zones[r.Zone] = z
	}
	reset := r.Resets > z.Reading.Resets
	doubtful := reset || r.Faults > z.Reading.Faults
	if r.Weighing == energy.CPUTime && l.counted {
		r.Weighing = energy.Cycles
	}
	z.Reading = r
	z.baseline.Configured = r.Idle
	if !z.seen {
		// A zone that was found later than the first interval starts here too:
		// what it counted before cannot be divided.
		z.seen, z.last = true, r.Total
		return
	}
	if l.first {
		z.last = r.Total
		return
	}
	if reset {
		// What was done before the counter began anew was paid before.
		clear(z.pending)
		z.elapsed, z.busy = 0, 0
	}
	z.elapsed += l.elapsed
	if r.Weighing != energy.NoWeighing {
		l.weigh(z)
	}
	metered := energy.Microjoules(0)
	if r.Total > z.last {
		metered = r.Total - z.last
	}
	if metered == 0 {
		z.Power = 0
		return
	}
	z.last = r.Total
	switch {
	case r.Weighing == energy.NoWeighing:
		z.IdlePower = r.Idle
	case !doubtful:
		z.baseline.Observe(metered, z.elapsed, z.busy, z.cpus)
		fallthrough
	default:
		z.IdlePower = z.baseline.Power()
	}
	if z.elapsed > 0 {
		z.Power = energy.Microwatts(float64(metered) / z.elapsed.Seconds())
	}
	l.split(z, metered)
	clear(z.pending)
	z.elapsed, z.busy = 0, 0
}

// weigh adds what each account did in this interval to what the zone's next
// joules are divided by. What nothing can weigh, nobody is charged with.
func (l *Ledger) weigh(z *zone) {
	pkgs := packagesOf(z.Reading.Zone, l.topology)
	z.cpus = 0
	for _, p := range pkgs {
		if p < len(l.cpus) {
			z.cpus += l.cpus[p]
		}
	}
	for _, a := range l.sorted {
		for _, p := range pkgs {
			if p >= len(a.onCPU) || a.onCPU[p] == 0 {
				continue
			}
			z.busy += time.Duration(a.onCPU[p]) // #nosec G115 -- nanoseconds of one interval
			if z.Reading.Weighing == energy.Cycles {
				z.pending[a] += a.cycles[p]
			} else {
				z.pending[a] += a.onCPU[p]
			}
		}
	}
}

func (l *Ledger) split(z *zone, metered energy.Microjoules) {
	consumers := make([]*account, 0, len(l.sorted))
	weights := make([]uint64, 0, len(l.sorted))
	for _, a := range l.sorted {
		if a != l.nobody && z.pending[a] > 0 {
			consumers = append(consumers, a)
			weights = append(weights, z.pending[a])
		}
	}
	parts := energy.Divide(metered, z.IdlePower.Over(z.elapsed), weights, z.pending[l.nobody])
	z.Metered += metered
	z.Idle += parts.Idle
	z.Unattributed += parts.Unattributed
	l.idle.joules(z.Reading.Zone, parts.Idle)
	l.nobody.joules(z.Reading.Zone, parts.Unattributed)
	for i, a := range consumers {
		a.joules(z.Reading.Zone, parts.Shares[i])
		if a == l.system {
			z.System += parts.Shares[i]
		} else {
			z.Agents += parts.Shares[i]
		}
	}
}

// Accounts returns copies: agents by name, then retired, system, idle and
// unattributed.
func (l *Ledger) Accounts() []Account {
	out := make([]Account, 0, len(l.sorted))
	for _, kind := range []Kind{KindAgent, KindRetired, KindSystem, KindIdle, KindUnattributed} {
		for _, a := range l.sorted {
			if a.kind == kind {
				out = append(out, Account{Name: a.name, Kind: a.kind, Total: a.total.clone(), Interval: a.interval.clone()})
			}
		}
	}
	return out
}

// Zones returns copies, by name, socket and source.
func (l *Ledger) Zones() []ZoneAccount {
	out := make([]ZoneAccount, 0, len(l.zones))
	for _, z := range l.zones {
		out = append(out, z.ZoneAccount)
	}
	slices.SortFunc(out, func(a, b ZoneAccount) int { return CompareZones(a.Reading.Zone, b.Reading.Zone) })
	return out
}

// CompareZones orders zones by name, socket and source.
func CompareZones(a, b energy.Zone) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Socket, b.Socket), cmp.Compare(a.Source, b.Source))
}

// packagesOf returns the package indices whose work a zone's energy pays for.
// A socket that the topology does not know is charged by all work: better
// coarse than to nobody.
func packagesOf(z energy.Zone, t sensor.Topology) []int {
	if z.Socket != energy.AllSockets {
		if i := slices.Index(t.Packages, z.Socket); i >= 0 {
			return []int{i}
		}
	}
	all := make([]int, len(t.Packages))
	for i := range all {
		all[i] = i
	}
	return all
}
