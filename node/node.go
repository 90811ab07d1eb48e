// Package node is the loop: it takes a sample each interval, keeps the
// accounts, stores them, and publishes what it knows.
//
// Data moves one way through it: sensor and meters, ledger, store, faces. An
// observation is published only after the store has its live copy, so that no
// reader ever saw a figure that a killed node could forget.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/node/agent"
	"github.com/cam-os/edge/node/coarse"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
	"github.com/cam-os/edge/store"
)

// Node measures. Open one, Run it, Close it.
type Node struct {
	cfg     atomic.Pointer[Config] // what it runs with; Reload replaces it
	version string
	log     *slog.Logger
	started time.Time

	cgroups  *cgroup.Hierarchy // nil without cgroup2
	sensor   sensor.Sensor
	further  further
	meter    energy.Meter
	store    *store.Store
	registry *agent.Registry
	launcher agent.Launcher
	ledger   *ledger.Ledger
	missing  []string

	sequence   uint64
	self       selfMeter
	paths      map[cgroup.ID]string
	failures   atomic.Uint64
	turn       sync.Mutex    // one sample or Reload at a time
	reloaded   chan struct{} // the interval may be another
	complaints complaints
	moves      moves

	coarse *coarse.Stepper
	latest atomic.Pointer[observe.Observation]
	mu     sync.Mutex
	subs   map[chan *observe.Observation]struct{}
}

// Open opens everything that a node stands on. What the machine lacks is
// named in the observations and by Status, and is no error.
func Open(cfg Config, version string, log *slog.Logger) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{
		version: version, log: log, reloaded: make(chan struct{}, 1), started: time.Now(), coarse: &coarse.Stepper{},
		complaints: complaints{log: log, now: time.Now},
		paths:      make(map[cgroup.ID]string), subs: make(map[chan *observe.Observation]struct{}),
	}
	n.cfg.Store(&cfg)
	if err := n.open(cfg); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	for _, m := range n.missing {
		log.Warn("missing", "what", m)
	}
	return n, nil
}

func (n *Node) open(cfg Config) (err error) {
	if n.store, err = store.Open(store.Config{
		Dir: cfg.StateDir, MaxBytes: cfg.Store.MaxBytes, CommitEvery: cfg.Store.CommitEvery,
		Writer: n.version, Log: n.log,
	}); err != nil {
		return err
	}
	if d := n.store.Stats().Degraded; d != "" {
		n.log.Warn("store", "degraded", d)
	}
	saved, err := n.store.Ledger()
	if err != nil {
		return err
	}
	n.sequence = saved.Sequence
	state, earlier := restored(saved)
	n.ledger = ledger.New(state)

	if n.cgroups, err = cgroup.Open(cfg.Path.Cgroup); err != nil {
		n.cgroups = nil
		n.missing = append(n.missing, fmt.Sprintf("agents: %v", err))
	} else if n.launcher, err = newLauncher(n.cgroups, cfg.Agents.Slice, cfg.Path.Procfs); err != nil {
		n.missing = append(n.missing, fmt.Sprintf("starting agents: %v", err))
	}
	if n.registry, err = agent.Open(cfg.Agents, n.cgroups, n.launcher, earlier); err != nil {
		return err
	}
	kernel := btf.NewCache() // read once for all sensors
	if n.sensor, err = sensor.Open(sensor.Config{
		BTF:   kernel,
		Sysfs: cfg.Path.Sysfs, Procfs: cfg.Path.Procfs, Cgroup: cfg.Path.Cgroup,
		MaxCgroups: cfg.Sensor.MaxCgroups, Force: sensor.Source(cfg.Sensor.Source),
		NoWaits: !cfg.Sensor.Waits,
	}); err != nil {
		return fmt.Errorf("cannot measure CPU time: %w", err)
	}
	n.missing = append(n.missing, n.sensor.Missing()...)
	n.missing = append(n.missing, n.further.open(cfg, n.cgroups, kernel)...)
	meter, missing, err := energy.Open(energy.Config{
		Sysfs: cfg.Path.Sysfs, Procfs: cfg.Path.Procfs,
		IdleWatts: cfg.Energy.IdleWatts, MaxWatts: cfg.Energy.MaxWatts,
		Ignore: cfg.Energy.Ignore, Board: cfg.Energy.Board,
	})
	if err != nil {
		return fmt.Errorf("cannot meter energy: %w", err)
	}
	n.meter = meter
	n.missing = append(n.missing, missing...)
	return nil
}

// firstSample is how soon after the start the first figures are there.
const firstSample = 100 * time.Millisecond

// Run samples until ctx ends, then takes a last sample and commits. ready is
// called after the first sample, alive after each that was taken: not by a loop
// that is stuck, nor by one that only fails.
func (n *Node) Run(ctx context.Context, ready, alive func()) error {
	n.sample()
	timer := time.NewTimer(firstSample)
	defer timer.Stop()
	select {
	case <-timer.C:
		n.sample()
		ready()
	case <-ctx.Done():
	}
	ticker := time.NewTicker(n.cfg.Load().Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if n.sample() {
				alive()
			}
		case <-n.reloaded:
			ticker.Reset(n.cfg.Load().Interval)
		case <-ctx.Done():
			n.sample()
			return n.store.Commit()
		}
	}
}

// sample takes one look and publishes it. A failure is counted and logged;
// the next sample catches up, since all counters are cumulative.
func (n *Node) sample() (taken bool) {
	n.turn.Lock()
	defer n.turn.Unlock()
	snap, err := n.sensor.Snapshot()
	n.complaints.about("sensor", err)
	if err != nil {
		n.failures.Add(1)
		return false
	}
	n.complaints.about("agents", n.registry.Refresh())
	topology := n.sensor.Topology()
	cpus := onlineCPUs(n.cfg.Load().Path.Sysfs, topology)
	owner := func(id cgroup.ID) string { return n.registry.Owner(id, snap.Parents) }
	further := n.further.look(n.registry, &n.complaints)
	charges := n.ledger.Charge(ledger.Interval{
		Snapshot: snap, Topology: topology, CPUs: cpus, Owner: owner,
		Cycles: n.sensor.Measures().Cycles, Groups: further.Groups, Blocks: further.blocks,
	})
	n.moves.record(snap, owner, n.log)
	n.ledger.Divide(n.meter.Read(energy.Activity{
		At: snap.At, Suspended: suspended(), Busy: n.ledger.Busy(), CPUs: cpus, Packages: topology.Packages,
	}))
	agents := n.registry.Agents()
	for _, a := range agents {
		n.ledger.Open(a.Name)
	}
	for _, name := range n.registry.Evict() {
		n.ledger.Retire(name)
	}
	o := n.observation(snap, agents, charges, further)
	n.complaints.about("store", n.keep(o))
	n.publish(o)
	return true
}

// keep stores an observation. The error is what does not work, also when this
// attempt did: a store that cannot commit takes everything in between.
func (n *Node) keep(o *observe.Observation) error {
	err := n.store.Append(point(o), saved(o, n.ledger.ZoneStates()))
	if d := n.store.Stats().Degraded; d != "" {
		return errors.New(d)
	}
	return err
}

func (n *Node) observation(snap *sensor.Snapshot, agents []observe.Agent, charges []ledger.Charge, f furtherLook) *observe.Observation {
	n.sequence++
	o := &observe.Observation{
		Time: time.Now(), At: snap.At, Sequence: n.sequence, Interval: n.cfg.Load().Interval,
		Sensor: n.sensor.Source(), SensorNote: sensorNote(n.sensor.Source()), Measures: n.sensor.Measures(),
		Accounts: n.ledger.Accounts(), Zones: n.ledger.Zones(),
		Agents:  make(map[string]observe.Agent, len(agents)),
		Missing: n.missing, // fixed since Open
		Probes:  slices.Concat(snap.Probes, f.probes),
		Further: n.further.measures(),
		Moves:   n.moves.latest(),
	}
	if p := n.latest.Load(); p != nil {
		o.Interval = max(snap.At-p.At, time.Nanosecond)
	}
	for _, a := range agents {
		a.Memory, a.Parts, a.Lacking = f.Memory[a.Name], f.Parts[a.Name], f.Lacking[a.Name]
		o.Agents[a.Name] = a
	}
	o.Breakdown = n.breakdown(charges)
	o.Self = n.self.measure(o)
	return o
}

// Observation returns what was published last, nil before the first sample.
func (n *Node) Observation() *observe.Observation { return n.latest.Load() }

// Subscribe returns a channel of observations until ctx ends. A reader that
// is slow gets the newest one and misses those between.
func (n *Node) Subscribe(ctx context.Context) <-chan *observe.Observation {
	ch := make(chan *observe.Observation, 1)
	n.mu.Lock()
	n.subs[ch] = struct{}{}
	n.mu.Unlock()
	context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.subs, ch)
		close(ch)
	})
	return ch
}

func (n *Node) publish(o *observe.Observation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.latest.Store(o)
	n.coarse.Step(o)
	for ch := range n.subs {
		select {
		case <-ch:
		default:
		}
		ch <- o
	}
}

// announce shows a new agent, with nothing used, before the next sample does:
// whoever started it finds it at once. Nothing else of the observation changes.
func (n *Node) announce(a observe.Agent) {
	n.turn.Lock()
	defer n.turn.Unlock()
	latest := n.latest.Load()
	if latest == nil {
		return
	}
	n.ledger.Open(a.Name)
	o := *latest
	o.Agents = maps.Clone(latest.Agents)
	o.Agents[a.Name] = a
	if !slices.ContainsFunc(o.Accounts, func(b ledger.Account) bool { return b.Name == a.Name }) {
		at, _ := slices.BinarySearchFunc(o.Accounts, a.Name, func(b ledger.Account, name string) int {
			if b.Kind != ledger.KindAgent {
				return 1
			}
			return strings.Compare(b.Name, name)
		})
		o.Accounts = slices.Insert(slices.Clone(latest.Accounts), at, ledger.Account{Name: a.Name, Kind: ledger.KindAgent})
	}
	n.latest.Store(&o)
}

// AgentOf returns the agent that a cgroup path belongs to.
func (n *Node) AgentOf(path string) (string, bool) { return n.registry.AgentOf(path) }

// Coarse is what may be shown to those who may not see everything; all faces
// share it.
func (n *Node) Coarse() *coarse.Stepper { return n.coarse }

// Close ends everything that Open began. Agents go on: they are not the
// node's children.
func (n *Node) Close() error {
	var errs []error
	if n.sensor != nil {
		errs = append(errs, n.sensor.Close())
	}
	errs = append(errs, n.further.close())
	if n.meter != nil {
		errs = append(errs, n.meter.Close())
	}
	if n.registry != nil {
		n.registry.Close()
	}
	if c, ok := n.launcher.(interface{ Close() error }); ok {
		errs = append(errs, c.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}
