package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

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
	suspended, err := suspendedTime()
	if err != nil {
		return nil, err
	}
	k.holdBack(entries, offline)
	s := &Snapshot{At: k.lookedAt(offline) + suspended, Parents: parents, Cgroups: make(map[cgroup.ID]Usage, len(entries))}
	k.charge(s, entries, live)
	s.Probes = k.cost()
	k.reap(parents, removed)
	return s, nil
}

// lookedAt is the mean of the moments when CPUs were looked at, so that what
// they did between two snapshots is the time between them, CPU for CPU. It
// also freezes the idle time of that moment in k.state.
func (k *kernel) lookedAt(offline []int) time.Duration {
	var from, sum, n int64
	for cpu := range k.state {
		c := &k.state[cpu]
		if slices.Contains(offline, cpu) {
			continue
		}
		c.Idle = c.LookedIdle
		looked := int64(c.Looked) // #nosec G115 -- nanoseconds since boot
		if n == 0 {
			from = looked
		}
		sum += looked - from // kept small, so that no number of CPUs overflows it
		n++
	}
	if n != 0 {
		k.at = max(k.at, time.Duration(from+sum/n))
	}
	return k.at
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
		for p, had := range a.onCPU {
			u.OnCPU[p] = max(u.OnCPU[p], had)
		}
		u.Switches = max(u.Switches, a.switches)
		a.onCPU, a.switches = append(a.onCPU[:0], u.OnCPU...), u.Switches
		s.Cgroups[e.id] = u
	}
}

// liveTasks runs the task iterator.
func (k *kernel) liveTasks() ([]liveTask, error) {
	k.live = k.live[:0]
	if k.tasks == nil {
		return nil, nil
	}
	r, err := k.tasks.Open()
	if err != nil {
		return nil, fmt.Errorf("iterate tasks: %w", err)
	}
	k.raw.Reset()
	_, err = k.raw.ReadFrom(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("iterate tasks: %w", err)
	}
	const words = int(unsafe.Sizeof(schedTaskRecord{}) / 8) // all of its fields are 64 bits wide
	for b := k.raw.Bytes(); len(b) >= 8*words; b = b[8*words:] {
		var w [words]uint64
		for i := range w {
			w[i] = binary.NativeEndian.Uint64(b[8*i:])
		}
		k.live = append(k.live, liveTask{
			Key:     taskKey{w[0], w[1]},
			Cgroup:  cgroup.ID(w[2]),
			Bytes:   ioBytes{w[3], w[4]},
			Exiting: w[5] != 0,
		})
	}
	return k.live, nil
}

// ancestries reads the parent of every known cgroup, and which are removed.
func (k *kernel) ancestries() (parents map[cgroup.ID]cgroup.ID, removed map[cgroup.ID]bool, err error) {
	parents = make(map[cgroup.ID]cgroup.ID, len(k.seen))
	removed = make(map[cgroup.ID]bool)
	take := func(id uint64, a schedAncestry) {
		parents[cgroup.ID(id)] = cgroup.ID(a.Parent)
		if a.Removed != 0 {
			removed[cgroup.ID(id)] = true
		}
	}
	if k.usages.singly {
		var id uint64
		var a schedAncestry
		it := k.objs.Ancestries.Iterate()
		for it.Next(&id, &a) {
			take(id, a)
		}
		err = it.Err()
	} else {
		err = dump(k.objs.Ancestries, take)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read ancestries: %w", err)
	}
	return parents, removed, nil
}

// dump reads a whole hash in batches.
func dump[V any](m *ebpf.Map, take func(uint64, V)) error {
	var cursor ebpf.MapBatchCursor
	size := batchSize
	for {
		keys, values := make([]uint64, size), make([]V, size)
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if errors.Is(err, errBatchTooSmall) {
			size *= 2
			continue
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		for i := range n {
			take(keys[i], values[i])
		}
		if err != nil {
			return nil
		}
	}
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
