// Package groups follows the cgroups of agents: what the kernel's controllers,
// its pressure files and the network programs say of each.
package groups

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/cgroupfs"
	"github.com/cam-os/edge/ebpf/network"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/node/ledger"
)

// Member is one cgroup of an agent.
type Member struct {
	Agent string
	ID    cgroup.ID
	Path  string // below the cgroup2 root
}

// Look is what was read of all members.
type Look struct {
	// Groups are cumulative figures, by member; one that was let go is there a
	// last time.
	Groups []ledger.Group
	// Memory is what agents hold, the sum over their cgroups; agents without the
	// memory controller are absent.
	Memory map[string]*cgroupfs.Memory
	// Parts is what is measured of all cgroups of an agent; agents without one
	// are absent.
	Parts map[string]cgroupfs.Parts
	// Lacking names what cannot be read of an agent, with the remedy.
	Lacking map[string][]string
	// Unowned are the cgroups whose block I/O may be an agent's: ancestors of
	// agents that lack the io controller, to which the kernel charges it.
	Unowned map[cgroup.ID]bool
}

// Config says what to follow.
type Config struct {
	// Controllers: throttling, memory and pressure. Network: traffic.
	Controllers, Network bool
	// BTF is shared; see sensor.Config.
	BTF *btf.Cache
}

// Groups follows members. It must not be used concurrently.
type Groups struct {
	cgroups  *cgroup.Hierarchy
	cfg      Config
	network  *network.Counter // nil without
	triggers *cgroupfs.Triggers
	missing  []string
	followed map[cgroup.ID]*followed
}

type followed struct {
	Member
	reader    *cgroupfs.Reader // nil once the cgroup is gone
	ancestors []cgroup.ID
	connected bool // the network counter follows it too
	counters  ledger.Counters
	memory    *cgroupfs.Memory
	parts     cgroupfs.Parts
	lacking   []string
	io        bool
	seen      bool // in this look
	// complete: all that can be followed is. Where something failed, a
	// descriptor perhaps, it is tried again after so many looks.
	complete bool
	wait     int
}

const retryAfter = 10

// A memory stall of this share of a window is worth an event: the kernel tells
// at once, between two samples.
const (
	stall  = 150 * time.Millisecond
	window = time.Second
)

// Open never fails: what this machine does not allow is in Missing.
func Open(h *cgroup.Hierarchy, cfg Config) *Groups {
	cache := cfg.BTF
	cfg.BTF = nil // not kept: it is large
	g := &Groups{cgroups: h, cfg: cfg, followed: make(map[cgroup.ID]*followed)}
	var err error
	if cfg.Network {
		if g.network, err = network.Open(h, cache); err != nil {
			g.network = nil
			g.missing = append(g.missing, fmt.Sprintf("network: %v", err))
		} else {
			g.missing = append(g.missing, g.network.Missing()...)
		}
	}
	if cfg.Controllers {
		if g.triggers, err = cgroupfs.NewTriggers(nil); err != nil {
			g.triggers = nil
			g.missing = append(g.missing, fmt.Sprintf("memory pressure between samples: %v", err))
		}
	}
	return g
}

// Missing says what this machine does not allow for any agent, with the remedy.
func (g *Groups) Missing() []string { return g.missing }

// Network says whether traffic is counted.
func (g *Groups) Network() bool { return g.network != nil }

// Probes is what counting costs.
func (g *Groups) Probes() []sensor.Probe {
	if g.network == nil {
		return nil
	}
	return g.network.Probes()
}

// Look reads the members that there are now, and lets go of others. The error
// is what could not be read; the rest is in Look all the same.
func (g *Groups) Look(members []Member) (Look, error) {
	var errs []error
	for _, m := range members {
		f := g.followed[m.ID]
		if f == nil {
			f = &followed{Member: m}
			g.followed[m.ID] = f
		}
		if f.wait > 0 {
			f.wait--
		} else if !f.complete {
			err := g.follow(f)
			f.complete, f.wait = err == nil, retryAfter
			errs = append(errs, err)
		}
		f.Member, f.seen = m, true
	}
	errs = append(errs, g.read())
	out := Look{Memory: make(map[string]*cgroupfs.Memory), Parts: make(map[string]cgroupfs.Parts), Lacking: make(map[string][]string), Unowned: make(map[cgroup.ID]bool)}
	for id, f := range g.followed {
		if !f.seen {
			errs = append(errs, g.unfollow(f))
			delete(g.followed, id)
		}
		f.add(&out)
		f.seen = false
	}
	slices.SortFunc(out.Groups, func(a, b ledger.Group) int { return cmp.Compare(a.Cgroup, b.Cgroup) })
	return out, errors.Join(errs...)
}

// follow begins with a member. What is gone already has no figures.
func (g *Groups) follow(f *followed) error {
	var errs []error
	f.ancestors = nil
	for p := path.Dir(f.Path); ; p = path.Dir(p) {
		if id, err := g.cgroups.ID(p); err == nil {
			f.ancestors = append(f.ancestors, id)
		}
		if p == "/" || p == "." {
			break
		}
	}
	if g.cfg.Controllers && f.reader == nil {
		r, err := cgroupfs.Open(g.cgroups, f.ID, f.Path)
		if err == nil {
			f.reader = r
		} else {
			errs = append(errs, unlessGone(err))
		}
		if g.triggers != nil {
			// Only some kernels have it, and not for every cgroup: the totals
			// of the pressure files tell the same later.
			_, _ = g.triggers.Add(g.cgroups, f.ID, f.Path, cgroupfs.MemoryPressure, stall, window)
		}
	}
	if g.network != nil && !f.connected {
		err := g.network.Follow(f.ID, f.Path)
		f.connected = err == nil
		errs = append(errs, unlessGone(err))
	}
	return errors.Join(errs...)
}

func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// read takes a look at all that are followed.
func (g *Groups) read() error {
	var errs []error
	var traffic map[cgroup.ID]network.Traffic
	if g.network != nil {
		var err error
		traffic, err = g.network.Read()
		errs = append(errs, err)
	}
	var events map[cgroupfs.Key]uint64
	if g.triggers != nil {
		events = g.triggers.Counts()
	}
	for id, f := range g.followed {
		if t, ok := traffic[id]; ok && f.connected {
			f.traffic(t)
		}
		if n, ok := events[cgroupfs.Key{ID: id, Resource: cgroupfs.MemoryPressure}]; ok {
			f.counters[ledger.MemoryPressureEvents] = n
		}
		if f.reader == nil {
			continue
		}
		s, err := f.reader.Read()
		if errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, f.reader.Close())
			f.reader, f.memory, f.lacking, f.io = nil, nil, nil, true
			continue
		}
		errs = append(errs, err)
		f.stat(s)
	}
	return errors.Join(errs...)
}

// unfollow lets a member go, with its last figures.
func (g *Groups) unfollow(f *followed) error {
	var errs []error
	if f.reader != nil {
		errs = append(errs, f.reader.Close())
		f.reader = nil
	}
	f.memory, f.lacking, f.io = nil, nil, true
	if g.triggers != nil {
		errs = append(errs, g.triggers.Remove(f.ID))
	}
	if f.connected {
		t, err := g.network.Unfollow(f.ID)
		if err == nil {
			f.traffic(t)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (f *followed) traffic(t network.Traffic) {
	c := &f.counters
	c[ledger.ReceivedBytes], c[ledger.ReceivedPackets] = t.ReceivedBytes, t.ReceivedPackets
	c[ledger.SentBytes], c[ledger.SentPackets] = t.SentBytes, t.SentPackets
	c[ledger.RefusedConnections] = t.Refused
}

func (f *followed) stat(s cgroupfs.Stat) {
	c := &f.counters
	if s.Throttle != nil {
		c[ledger.ThrottledTime], c[ledger.ThrottledPeriods] = nanoseconds(s.Throttle.Time), s.Throttle.Periods
	}
	for _, p := range []struct {
		pressure   *cgroupfs.Pressure
		some, full ledger.Counter
	}{
		{s.CPU, ledger.CPUStall, ledger.CPUFullStall},
		{s.IO, ledger.IOStall, ledger.IOFullStall},
		{s.Mem, ledger.MemoryStall, ledger.MemoryFullStall},
	} {
		if p.pressure != nil {
			c[p.some], c[p.full] = nanoseconds(p.pressure.Some), nanoseconds(p.pressure.Full)
		}
	}
	if m := s.Memory; m != nil {
		c[ledger.Reclaimed], c[ledger.Refaults] = m.Reclaimed, m.Refaults
		c[ledger.MemoryAtHigh], c[ledger.MemoryAtMax], c[ledger.OOMKills] = m.AtHigh, m.AtMax, m.OOMKills
	}
	f.memory, f.parts = s.Memory, s.Parts()
	enabled := f.reader.Enabled()
	f.parts.Block = slices.Contains(enabled, "io")
	if io := f.parts.Block; io != f.io || f.lacking == nil {
		f.io = io
		f.lacking = append([]string{}, f.reader.Missing()...)
	}
}

func nanoseconds(d time.Duration) uint64 { return uint64(max(d, 0)) } // #nosec G115 -- not negative

// add puts one member's figures to the look.
func (f *followed) add(out *Look) {
	out.Groups = append(out.Groups, ledger.Group{Cgroup: f.ID, Owner: f.Agent, Counters: f.counters})
	if f.reader != nil && !f.io {
		for _, id := range f.ancestors {
			out.Unowned[id] = true
		}
	}
	if f.reader != nil {
		if parts, others := out.Parts[f.Agent]; others {
			out.Parts[f.Agent] = parts.And(f.parts)
		} else {
			out.Parts[f.Agent] = f.parts
		}
	}
	if len(f.lacking) > 0 {
		out.Lacking[f.Agent] = append(out.Lacking[f.Agent], f.lacking...)
	}
	m := f.memory
	if m == nil {
		return
	}
	sum := out.Memory[f.Agent]
	if sum == nil {
		c := *m
		out.Memory[f.Agent] = &c
		return
	}
	sum.Current += m.Current
	sum.WorkingSet += m.WorkingSet
	sum.Swap += m.Swap
	// The peaks of several need not have been at once, and a limit that one
	// lacks is none for all.
	sum.Peak = 0
	if sum.Max != 0 && m.Max != 0 {
		sum.Max += m.Max
	} else {
		sum.Max = 0
	}
}

// Close lets everything go.
func (g *Groups) Close() error {
	var errs []error
	for _, f := range g.followed {
		errs = append(errs, g.unfollow(f))
	}
	clear(g.followed)
	if g.triggers != nil {
		errs = append(errs, g.triggers.Close())
	}
	if g.network != nil {
		errs = append(errs, g.network.Close())
	}
	return errors.Join(errs...)
}
