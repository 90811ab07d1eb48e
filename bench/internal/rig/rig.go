// Package rig sets up what the bench measures: nodes, agents, a power
// simulator, peers; and takes it down again.
package rig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/energy/simulator"
	"github.com/cam-os/edge/store"
)

// Rig owns everything that a bench makes. Close removes it.
type Rig struct {
	// Dir is on a disk, if /var/tmp is.
	Dir string
	// Residual holds all nodes of the rig to conservation.
	Residual Residual

	fast    string // a directory in memory
	slice   string // agents' cgroups are made below it
	cgroups *cgroup.Hierarchy
	states  []string // directories of nodes
}

const module = "github.com/cam-os/edge"

// Open builds the programs and finds the cgroup tree. It says what the bench
// cannot do on this machine.
func Open(ctx context.Context) (_ *Rig, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the bench loads eBPF programs and makes cgroups: run it as root")
	}
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil {
		return nil, fmt.Errorf("the bench makes cgroups for its agents: %w", err)
	}
	r := &Rig{cgroups: h, slice: fmt.Sprintf("cam-bench-%d.slice", os.Getpid())}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.Dir, err = os.MkdirTemp("/var/tmp", "cam-bench-"); err != nil {
		return nil, err
	}
	if r.fast, err = os.MkdirTemp("/dev/shm", "cam-bench-"); err != nil {
		return nil, err
	}
	for name, pkg := range map[string]string{"cam-node": "/cmd/cam-node", "load": "/bench/internal/load", "replay": "/bench/internal/replay"} {
		c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", r.Program(name), module+pkg) // #nosec G204 -- constants
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	return r, os.Symlink("cam-node", r.Program("camctl"))
}

// Program is the path of cam-node, camctl or load.
func (r *Rig) Program(name string) string { return filepath.Join(r.Dir, name) }

// Memory is a directory in memory, if /dev/shm is.
func (r *Rig) Memory() string { return r.fast }

// Close removes directories and cgroups. Nodes and agents must have ended.
func (r *Rig) Close() error {
	errs := []error{r.removeCgroups()}
	for _, dir := range r.states {
		errs = append(errs, removeLive(dir))
	}
	for _, dir := range []string{r.Dir, r.fast} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// removeLive removes the copy of its state that a node keeps in memory.
func removeLive(dir string) error {
	s, err := store.Open(store.Config{Dir: dir})
	if err != nil {
		return err
	}
	live := s.Stats().LivePath
	if err := s.Close(); err != nil || live == "" {
		return err
	}
	if err := os.Remove(live); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (r *Rig) removeCgroups() error {
	var err error
	for range 200 { // a killed process leaves its cgroup a little later
		children, _ := r.cgroups.Children("/" + r.slice)
		err = nil
		for _, p := range append(children, "/"+r.slice) {
			if e := r.cgroups.Remove(p); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		if err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// Cgroup is where the agent of that name lives.
func (r *Rig) Cgroup(agent string) string { return "/" + r.slice + "/cam-" + agent + ".scope" }

// Simulation is a power simulator that runs.
type Simulation struct {
	*simulator.Simulator
	Sysfs string
	stop  context.CancelFunc
	done  chan error
}

// Simulate runs a machine with one socket: idle, and watts for each busy CPU,
// whoever keeps it busy. details adds core and dram zones, which most machines
// have.
func (r *Rig) Simulate(idle, watts float64, details bool, period time.Duration) (*Simulation, error) {
	dir, err := os.MkdirTemp(r.fast, "sys-")
	if err != nil {
		return nil, err
	}
	socket := simulator.Socket{IdleWatts: idle}
	if details {
		socket.Core, socket.DRAMWatts = true, 1.5
	}
	s, err := simulator.New(simulator.Config{
		Root: dir, Sockets: []simulator.Socket{socket},
		Loads:      []simulator.Load{{Cgroup: "/" + r.slice + "/*", Watts: watts}},
		OtherWatts: watts,
	}, simulator.Boottime())
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	sim := &Simulation{Simulator: s, Sysfs: dir, stop: stop, done: make(chan error, 1)}
	go func() { sim.done <- s.Run(ctx, period) }()
	return sim, nil
}

// Active is the true energy of an agent's cgroup beyond idle, in joules.
func (s *Simulation) Active(cgroup string) float64 {
	for _, c := range s.Truth().Cgroups {
		if c.Cgroup == cgroup {
			return c.Active.Joules()
		}
	}
	return 0
}

// Stop ends the simulation and says whether it failed before.
func (s *Simulation) Stop() error {
	s.stop()
	return <-s.done
}

// Boottime is CLOCK_BOOTTIME.
func Boottime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
