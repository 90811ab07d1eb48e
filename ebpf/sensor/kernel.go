package sensor

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// kernel is the sensor that aggregates in the kernel (bpf/sched.bpf.c).
type kernel struct {
	maps     schedMaps
	programs map[string]*ebpf.Program
	has      features
	links    []link.Link
	tasks    *link.Iter // nil without task I/O accounting
	max      int        // room in the usage map
	topo     Topology
	io       *taskIO
	usages   percpuReader
	state    []schedCpu // by CPU
	raw      bytes.Buffer
	live     []liveTask
	moves    *moveLog
	counters *counters // nil without
	seen     map[cgroup.ID]*account
	at       time.Duration // of the last look, CLOCK_MONOTONIC
	probes   []probe
	missed   []string
}

// probe is a loaded program with the name that the C source gives it.
type probe struct {
	name string
	prog *ebpf.Program
}

// account is what the last looks said of one cgroup.
type account struct {
	used   Usage
	total  schedUsage // over all CPUs, as the kernel has it
	silent int        // looks since total changed
}

func openKernel(c Config) (*kernel, error) {
	if err := Ready(); err != nil {
		return nil, err
	}
	cache := c.BTF
	if cache == nil {
		cache = btf.NewCache()
	}
	has, missed := find(c, cache)
	return startKernel(c, cache, has, missed)
}

// startKernel loads and attaches what has names; missed says why the rest is
// not there.
func startKernel(c Config, cache *btf.Cache, has features, missed []string) (_ *kernel, err error) {
	n, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	spec, err := has.spec(c, n)
	if err != nil {
		return nil, err
	}
	k := &kernel{has: has, missed: missed, max: c.MaxCgroups, seen: make(map[cgroup.ID]*account)}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
		// Parsing the kernel's BTF leaves several megabytes of garbage, once.
		cache = nil
		debug.FreeOSMemory()
	}()
	if err := k.load(spec, cache); err != nil {
		return nil, explain(err)
	}
	k.topo = readTopology(c.Sysfs, n)
	k.state = make([]schedCpu, n)
	k.usages = percpuReader{m: k.maps.Usages, cpus: n}
	k.io = newTaskIO(settledTable{k.maps.Settled})
	if k.moves, err = openMoveLog(&k.maps); err != nil {
		return nil, err
	}
	if has.cycles {
		k.counters = newCounters(c.counters(), [2]*ebpf.Map{k.maps.CycleEvents, k.maps.InstructionEvents}, n)
	}
	if err := k.attach(); err != nil {
		return nil, explain(err)
	}
	return k, k.begin()
}

// load takes the programs that spec still has.
func (k *kernel) load(spec *ebpf.CollectionSpec, cache *btf.Cache) error {
	all, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: cache})
	if err != nil {
		return err
	}
	defer all.Close()
	if err := all.Assign(&k.maps); err != nil {
		return err
	}
	k.programs = all.Programs
	all.Programs = nil // ours now
	return nil
}

func (k *kernel) attach() error {
	for _, name := range []string{
		schedProgCgroupRmdir, schedProgSchedProcessExit, schedProgCgroupAttachTask,
		schedProgSchedProcessFork, schedProgSchedSwitch,
	} {
		p := k.programs[name]
		if p == nil {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return fmt.Errorf("attach %s: %w", name, err)
		}
		k.links = append(k.links, l)
		k.probes = append(k.probes, probe{name, p})
	}
	k.probes = append(k.probes, probe{schedProgLook, k.programs[schedProgLook]})
	p := k.programs[schedProgTaskIo]
	if p == nil {
		return nil
	}
	it, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return fmt.Errorf("attach %s: %w", schedProgTaskIo, err)
	}
	k.tasks = it
	k.probes = append(k.probes, probe{schedProgTaskIo, p})
	return nil
}

// Source implements Sensor.
func (k *kernel) Source() Source { return EBPF }

// Topology implements Sensor.
func (k *kernel) Topology() Topology { return k.topo.clone() }

// Measures implements Sensor.
func (k *kernel) Measures() Measures {
	return Measures{Agents: true, Switches: true, IO: k.has.io, Waits: k.has.waits, Moves: true, Cycles: k.has.cycles}
}

// Missing implements Sensor.
func (k *kernel) Missing() []string { return k.missed }

// Close implements Sensor.
func (k *kernel) Close() error {
	var errs []error
	for _, l := range k.links {
		errs = append(errs, l.Close())
	}
	if k.tasks != nil {
		errs = append(errs, k.tasks.Close())
	}
	errs = append(errs, k.moves.Close())
	k.counters.Close()
	for _, p := range k.programs {
		errs = append(errs, p.Close())
	}
	errs = append(errs, k.maps.Close())
	k.links, k.tasks, k.moves, k.counters = nil, nil, nil, nil
	return errors.Join(errs...)
}
