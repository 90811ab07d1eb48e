package sensor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

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
	seen   map[cgroup.ID]*account
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
	usage  Usage
	total  schedUsage // over all CPUs, as the kernel has it
	silent int        // looks since total changed
}

func openKernel(c Config) (_ *kernel, err error) {
	if err := supported(); err != nil {
		return nil, err
	}
	// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK; on others this is a
	// probe and no more.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, &UnsupportedError{What: "room for locked memory", Remedy: "raise it: LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited", Err: err}
	}
	spec, err := loadSched()
	if err != nil {
		return nil, fmt.Errorf("read the built-in eBPF object: %w", err)
	}
	spec.Maps[schedMapUsages].MaxEntries = uint32(c.MaxCgroups)
	spec.Maps[schedMapAncestries].MaxEntries = uint32(4 * c.MaxCgroups)

	cache := btf.NewCache()
	k := &kernel{max: c.MaxCgroups, seen: make(map[cgroup.ID]*account)}
	if !taskIOAccounting(cache) {
		k.missed = append(k.missed, "I/O bytes per cgroup: this kernel does not count task I/O; boot one with CONFIG_TASK_IO_ACCOUNTING=y")
		delete(spec.Programs, schedProgTaskIo)
		delete(spec.Programs, schedProgSchedProcessExit)
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

// begin starts every CPU's clock and takes what was done before as given.
func (k *kernel) begin() error {
	if _, err := k.look(); err != nil {
		return err
	}
	live, err := k.liveTasks()
	if err != nil {
		return err
	}
	k.io.open(live)
	entries, err := k.usages.read()
	if err != nil {
		return err
	}
	exited := make(map[cgroup.ID]ioBytes)
	for _, e := range entries {
		exited[e.id] = ioBytes{e.total.Read, e.total.Written}
	}
	k.io.discount(exited)
	return nil
}

// look charges what runs now, on every CPU. The result says which CPUs are
// offline: their slots still hold what they last ran.
func (k *kernel) look() (offline []int, err error) {
	for cpu := range k.state {
		_, err := k.objs.Look.Run(&ebpf.RunOptions{Flags: unix.BPF_F_TEST_RUN_ON_CPU, CPU: uint32(cpu)})
		switch {
		case errors.Is(err, unix.ENXIO):
			offline = append(offline, cpu)
		case err != nil:
			return nil, fmt.Errorf("charge what runs on CPU %d: %w", cpu, err)
		}
	}
	return offline, nil
}

// Snapshot implements Sensor.
func (k *kernel) Snapshot() (*Snapshot, error) {
	offline, err := k.look()
	if err != nil {
		return nil, err
	}
	at, err := bootTime()
	if err != nil {
		return nil, err
	}
	entries, err := k.usages.read()
	if err != nil {
		return nil, err
	}
	if err := k.objs.Cpus.Lookup(uint32(0), &k.state); err != nil {
		return nil, fmt.Errorf("read per-CPU state: %w", err)
	}
	parents, removed, err := k.ancestries()
	if err != nil {
		return nil, err
	}
	live, err := k.liveTasks()
	if err != nil {
		return nil, err
	}
	k.holdBack(entries, offline)
	s := &Snapshot{At: at, Parents: parents, Cgroups: make(map[cgroup.ID]Usage, len(entries))}
	k.charge(s, entries, live)
	s.Probes = k.cost()
	k.reap(parents, removed)
	return s, nil
}

// holdBack adds what the slots of offline CPUs hold to the entries.
func (k *kernel) holdBack(entries []entry, offline []int) {
	for _, cpu := range offline {
		for _, slot := range k.state[cpu].Slots {
			for i := range entries {
				if slot.Id != 0 && entries[i].id == cgroup.ID(slot.Id) {
					entries[i].perCPU[cpu].Ns += slot.Ns
					entries[i].perCPU[cpu].Switches += slot.Switches
				}
			}
		}
	}
}

func (k *kernel) charge(s *Snapshot, entries []entry, live []liveTask) {
	pkgs := len(k.topo.Packages)
	s.Idle = make([]time.Duration, pkgs)
	s.Overflow.OnCPU = make([]time.Duration, pkgs)
	exited := make(map[cgroup.ID]ioBytes, len(entries)+1)
	var lost ioBytes
	for cpu, c := range k.state {
		p := k.topo.PackageOf[cpu]
		s.Idle[p] += time.Duration(c.Idle)                  // #nosec G115 -- 292 years of nanoseconds
		s.Overflow.OnCPU[p] += time.Duration(c.Overflow.Ns) // #nosec G115
		s.Overflow.Switches += c.Overflow.Switches
		lost = lost.add(ioBytes{c.Overflow.Read, c.Overflow.Written})
	}
	exited[overflow] = lost
	for _, e := range entries {
		exited[e.id] = ioBytes{e.total.Read, e.total.Written}
	}
	io := k.io.update(exited, live, len(entries) >= k.max)
	s.Overflow.Read, s.Overflow.Written = io[overflow].Read, io[overflow].Written

	backing := make([]time.Duration, pkgs*len(entries))
	for _, e := range entries {
		u := Usage{OnCPU: backing[:pkgs:pkgs], Read: io[e.id].Read, Written: io[e.id].Written}
		backing = backing[pkgs:]
		for cpu, v := range e.perCPU {
			u.OnCPU[k.topo.PackageOf[cpu]] += time.Duration(v.Ns) // #nosec G115
			u.Switches += v.Switches
		}
		a := k.seen[e.id]
		if a == nil {
			a = &account{}
			k.seen[e.id] = a
		}
		if a.total == e.total {
			a.silent++
		} else {
			a.total, a.silent = e.total, 0
		}
		// Only a CPU that comes or goes during the look could make it less.
		for p, had := range a.usage.OnCPU {
			u.OnCPU[p] = max(u.OnCPU[p], had)
		}
		u.Switches = max(u.Switches, a.usage.Switches)
		a.usage = u
		s.Cgroups[e.id] = u
	}
}

// liveTasks runs the task iterator.
func (k *kernel) liveTasks() ([]liveTask, error) {
	if k.tasks == nil {
		return nil, nil
	}
	r, err := k.tasks.Open()
	if err != nil {
		return nil, fmt.Errorf("iterate tasks: %w", err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("iterate tasks: %w", err)
	}
	var rec schedTaskRecord
	size := int(unsafe.Sizeof(rec))
	live := make([]liveTask, 0, len(b)/size)
	for ; len(b) >= size; b = b[size:] {
		if err := binary.Read(bytes.NewReader(b[:size]), binary.NativeEndian, &rec); err != nil {
			return nil, fmt.Errorf("decode task: %w", err)
		}
		live = append(live, liveTask{
			Key:     taskKey{rec.Key.Start, rec.Key.Tid},
			Cgroup:  cgroup.ID(rec.Cgroup),
			Bytes:   ioBytes{rec.Bytes.Read, rec.Bytes.Written},
			Exiting: rec.Exiting != 0,
		})
	}
	return live, nil
}

// ancestries reads the parent of every known cgroup, and which are removed.
func (k *kernel) ancestries() (parents map[cgroup.ID]cgroup.ID, removed map[cgroup.ID]bool, err error) {
	parents = make(map[cgroup.ID]cgroup.ID)
	removed = make(map[cgroup.ID]bool)
	var id uint64
	var a schedAncestry
	it := k.objs.Ancestries.Iterate()
	for it.Next(&id, &a) {
		parents[cgroup.ID(id)] = cgroup.ID(a.Parent)
		if a.Removed != 0 {
			removed[cgroup.ID(id)] = true
		}
	}
	if err := it.Err(); err != nil {
		return nil, nil, fmt.Errorf("read ancestries: %w", err)
	}
	return parents, removed, nil
}

func (k *kernel) cost() []Probe {
	out := make([]Probe, 0, len(k.probes))
	for _, p := range k.probes {
		pr := Probe{Name: p.name}
		if st, err := p.prog.Stats(); err == nil {
			pr.Runs, pr.Time = st.RunCount, st.Runtime
		}
		out = append(out, pr)
	}
	return out
}

// Source implements Sensor.
func (k *kernel) Source() Source { return EBPF }

// Topology implements Sensor.
func (k *kernel) Topology() Topology { return k.topo.clone() }

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
