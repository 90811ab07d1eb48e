// Package simulator is a machine's power with a known truth, for machines
// without RAPL: tests, demonstrations and virtual machines.
//
// It drives a powercap tree under any directory from what processes really
// did: each socket draws its idle power, and each busy CPU draws the watts of
// the cgroup that it works for. Work is measured apart from the node's sensor
// (cpu.stat, /proc/stat), energy is integer microjoules with remainders
// carried, and Truth says to the microjoule where the energy went, so that an
// attribution can be compared with it. truth.json in the root says the same.
//
// A tree that is not the kernel's sysfs is labelled simulated by package
// energy, wherever its figures go.
package simulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/cam-os/edge/energy"
)

// Other is the name of the truth about whatever no load matches.
const Other = "*"

// Truth is where the energy went since the simulator started.
type Truth struct {
	// At is CLOCK_BOOTTIME of the step.
	At      time.Duration `json:"boottime_nanoseconds"`
	Steps   uint64        `json:"steps"`
	Sockets []SocketTruth `json:"sockets"`
	Cgroups []CgroupTruth `json:"cgroups"` // by path and socket; Other included
}

// SocketTruth is a package's: Idle + Active is what its package zone shows,
// Active what its core zone shows.
type SocketTruth struct {
	Socket int                `json:"socket"`
	Idle   energy.Microjoules `json:"idle_microjoules"`
	Active energy.Microjoules `json:"active_microjoules"`
	DRAM   energy.Microjoules `json:"dram_microjoules"`
}

// Total is the energy of the package zone.
func (s SocketTruth) Total() energy.Microjoules { return s.Idle + s.Active }

// CgroupTruth is what the work of a cgroup drew beyond idle. A cgroup that is
// gone stays; one that took its path counts on.
type CgroupTruth struct {
	Cgroup string             `json:"cgroup"`
	Socket int                `json:"socket"`
	Busy   uint64             `json:"busy_microseconds"`
	Active energy.Microjoules `json:"active_microjoules"`
}

// Simulator drives one tree. Its methods may be called concurrently.
type Simulator struct {
	config Config
	tree   tree

	mu      sync.Mutex
	last    work
	truth   Truth
	cgroups map[string]*account
	idle    []remainder // by socket
	dram    []remainder
	// debt is work that cgroups reported before their parent did: the kernel's
	// files are not of one moment. It is settled from what comes.
	debt map[string]int64
}

// account is a cgroup's truth with what is below a microjoule.
type account struct {
	CgroupTruth
	rest remainder
}

// New makes the tree, with counters at their start, and notes how much work
// was done before. Errors are about the configuration, or files.
func New(c Config, now time.Duration) (*Simulator, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Simulator{
		config:  c,
		cgroups: map[string]*account{},
		debt:    map[string]int64{},
		idle:    make([]remainder, len(c.Sockets)),
		dram:    make([]remainder, len(c.Sockets)),
		truth:   Truth{At: now, Cgroups: []CgroupTruth{}},
	}
	for i := range c.Sockets {
		s.truth.Sockets = append(s.truth.Sockets, SocketTruth{Socket: i})
	}
	if s.last, err = measure(c); err != nil {
		return nil, err
	}
	if s.tree, err = newTree(c); err != nil {
		return nil, err
	}
	if err := s.tree.write(s.truth); err != nil {
		return nil, errors.Join(err, s.tree.close())
	}
	return s, nil
}

// Close lets another simulator have the root. The tree stays as it is.
func (s *Simulator) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree.close()
}

// Step measures the work since the last step and adds its energy to the
// counters. now is CLOCK_BOOTTIME. After an error, the next step catches up.
func (s *Simulator) Step(now time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, err := measure(s.config)
	if err != nil {
		return err
	}
	s.advance(w, now)
	return s.tree.write(s.truth)
}

// Truth returns where the energy went, as of the last step.
func (s *Simulator) Truth() Truth {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.truth
	t.Sockets, t.Cgroups = slices.Clone(t.Sockets), slices.Clone(t.Cgroups)
	return t
}

// Run steps each period until the context ends, or a step fails.
func (s *Simulator) Run(ctx context.Context, period time.Duration) error {
	if period <= 0 {
		return fmt.Errorf("simulator: period %v is not positive", period)
	}
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := s.Step(Boottime()); err != nil {
				return err
			}
		}
	}
}

// advance turns work into energy. It is pure but for the simulator's state.
func (s *Simulator) advance(w work, now time.Duration) {
	elapsed := max(now-s.truth.At, 0)
	s.truth.At = s.truth.At + elapsed
	s.truth.Steps++
	for i, socket := range s.config.Sockets {
		nanos := uint64(elapsed) // #nosec G115 -- not negative
		s.truth.Sockets[i].Idle += s.idle[i].add(microwatts(socket.IdleWatts), nanos, uint64(time.Second))
		s.truth.Sockets[i].DRAM += s.dram[i].add(microwatts(socket.DRAMWatts), nanos, uint64(time.Second))
	}

	// Each cgroup's own work is its hierarchy's less that of measured
	// descendants; Other is the parent of all.
	own := map[string]int64{Other: difference(w.total, s.last.total)}
	for _, cgroup := range slices.Sorted(maps.Keys(w.cgroups)) {
		u, before := w.cgroups[cgroup], s.last.cgroups[cgroup]
		if before.inode != u.inode || before.micro > u.micro {
			before = usage{} // it was made since the last step
		}
		d := difference(u.micro, before.micro)
		own[cgroup] += d
		if parent := w.parent(cgroup); parent != "" {
			own[parent] -= d
		} else {
			own[Other] -= d
		}
	}
	for cgroup, d := range own {
		s.charge(cgroup, d)
	}
	for cgroup, u := range s.last.cgroups {
		if _, ok := w.cgroups[cgroup]; !ok {
			w.cgroups[cgroup] = u // unreadable just now, or gone: if it is back, it is the same or has another inode
		}
	}
	s.last = w

	s.truth.Cgroups = s.truth.Cgroups[:0:0]
	for _, cgroup := range slices.Sorted(maps.Keys(s.cgroups)) {
		s.truth.Cgroups = append(s.truth.Cgroups, s.cgroups[cgroup].CgroupTruth)
	}
}

// charge adds the energy of work to a cgroup and its socket.
func (s *Simulator) charge(cgroup string, work int64) {
	work += s.debt[cgroup]
	s.debt[cgroup] = min(work, 0)
	watts, socket := s.load(cgroup)
	a := s.cgroups[cgroup]
	if a == nil {
		a = &account{CgroupTruth: CgroupTruth{Cgroup: cgroup, Socket: socket}}
		s.cgroups[cgroup] = a
	}
	if work <= 0 {
		return
	}
	micro := uint64(work)
	e := a.rest.add(microwatts(watts), micro, 1_000_000)
	a.Busy += micro
	a.Active += e
	s.truth.Sockets[socket].Active += e
}

func (s *Simulator) load(cgroup string) (watts float64, socket int) {
	for _, l := range s.config.Loads {
		if ok, _ := path.Match(l.Cgroup, cgroup); ok {
			return l.Watts, l.Socket
		}
	}
	return s.config.OtherWatts, s.config.OtherSocket
}

// difference is how far a cumulative figure moved; 0 if it went back.
func difference(now, before uint64) int64 {
	if now < before {
		return 0
	}
	return int64(now - before) // #nosec G115 -- µs since boot
}
