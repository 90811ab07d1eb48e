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
	"github.com/cilium/ebpf/rlimit"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// kernel is the sensor that aggregates in the kernel (bpf/sched.bpf.c).
type kernel struct {
	objs   schedObjects
	links  []link.Link
	tasks  *link.Iter // nil without task I/O accounting
	max    int        // room in the usage map
	topo   Topology
	io     *taskIO
	usages percpuReader
	state  []schedCpu // by CPU
	raw    bytes.Buffer
	live   []liveTask
	seen   map[cgroup.ID]*account
	at     time.Duration // of the last look, CLOCK_MONOTONIC
	probes []probe
	missed []string
}

// probe is a loaded program with the name that the C source gives it.
type probe struct {
	name string
	prog *ebpf.Program
}

// account is what the last looks said of one cgroup.
type account struct {
	onCPU    []time.Duration
	switches uint64
	total    schedUsage // over all CPUs, as the kernel has it
	silent   int        // looks since total changed
}

func openKernel(c Config) (*kernel, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK; on others this is a
	// probe and no more.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, &UnsupportedError{What: "room for locked memory", Remedy: "raise it: LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited", Err: err}
	}
	cache := btf.NewCache()
	return startKernel(c, cache, taskIOAccounting(cache))
}

// startKernel loads and attaches what the kernel can take; accounting says
// whether it counts I/O per task.
func startKernel(c Config, cache *btf.Cache, accounting bool) (_ *kernel, err error) {
	spec, err := loadSched()
	if err != nil {
		return nil, fmt.Errorf("read the built-in eBPF object: %w", err)
	}
	spec.Maps[schedMapUsages].MaxEntries = uint32(c.MaxCgroups)         // #nosec G115 -- withDefaults bounds it
	spec.Maps[schedMapAncestries].MaxEntries = uint32(4 * c.MaxCgroups) // #nosec G115

	k := &kernel{max: c.MaxCgroups, seen: make(map[cgroup.ID]*account)}
	if !accounting {
		k.missed = append(k.missed, "I/O bytes per cgroup: this kernel does not count task I/O; boot one with CONFIG_TASK_IO_ACCOUNTING=y")
		delete(spec.Programs, schedProgTaskIo)
		delete(spec.Programs, schedProgSchedProcessExit)
	}
	if accounting && hiddenTasks(c.Procfs) {
		k.missed = append(k.missed, "I/O bytes: those of processes outside this pid namespace come when they exit; run in the host's (hostPID)")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
		// Parsing the kernel's BTF leaves several megabytes of garbage, once.
		cache = nil
		debug.FreeOSMemory()
	}()
	opts := &ebpf.CollectionOptions{Cache: cache}
	if err := k.load(spec, opts); err != nil {
		return nil, explain(err)
	}
	n, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	k.topo = readTopology(c.Sysfs, n)
	k.state = make([]schedCpu, n)
	k.usages = percpuReader{m: k.objs.Usages, cpus: n}
	k.io = newTaskIO(settledTable{k.objs.Settled})
	if err := k.attach(); err != nil {
		return nil, explain(err)
	}
	return k, k.begin()
}

// load takes the programs that spec still has.
func (k *kernel) load(spec *ebpf.CollectionSpec, opts *ebpf.CollectionOptions) error {
	if spec.Programs[schedProgTaskIo] != nil {
		return spec.LoadAndAssign(&k.objs, opts)
	}
	var p struct {
		Look   *ebpf.Program `ebpf:"look"`
		Rmdir  *ebpf.Program `ebpf:"cgroup_rmdir"`
		Switch *ebpf.Program `ebpf:"sched_switch"`
		schedMaps
	}
	if err := spec.LoadAndAssign(&p, opts); err != nil {
		return err
	}
	k.objs.schedMaps = p.schedMaps
	k.objs.Look, k.objs.CgroupRmdir, k.objs.SchedSwitch = p.Look, p.Rmdir, p.Switch
	return nil
}

func (k *kernel) attach() error {
	for _, p := range []probe{
		{schedProgCgroupRmdir, k.objs.CgroupRmdir},
		{schedProgSchedProcessExit, k.objs.SchedProcessExit},
		{schedProgSchedSwitch, k.objs.SchedSwitch},
	} {
		if p.prog == nil {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: p.prog})
		if err != nil {
			return fmt.Errorf("attach %s: %w", p.name, err)
		}
		k.links = append(k.links, l)
		k.probes = append(k.probes, p)
	}
	k.probes = append(k.probes, probe{schedProgLook, k.objs.Look})
	if k.objs.TaskIo == nil {
		return nil
	}
	it, err := link.AttachIter(link.IterOptions{Program: k.objs.TaskIo})
	if err != nil {
		return fmt.Errorf("attach %s: %w", schedProgTaskIo, err)
	}
	k.tasks = it
	k.probes = append(k.probes, probe{schedProgTaskIo, k.objs.TaskIo})
	return nil
}

// Source implements Sensor.
func (k *kernel) Source() Source { return EBPF }

// Topology implements Sensor.
func (k *kernel) Topology() Topology { return k.topo.clone() }

// Measures implements Sensor.
func (k *kernel) Measures() Measures {
	return Measures{Agents: true, Switches: true, IO: k.tasks != nil}
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
	errs = append(errs, k.objs.Close())
	k.links, k.tasks = nil, nil
	return errors.Join(errs...)
}
