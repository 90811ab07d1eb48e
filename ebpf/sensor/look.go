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
	offline, err := k.look()
	if err != nil {
		return err
	}
	if err := k.counters.keep(k.state, offline); err != nil {
		return err
	}
	if err := findHomes(k.programs[schedProgFindHomes]); err != nil {
		return err
	}
	live, err := k.liveTasks()
	if err != nil {
		return err
	}
	// What was done before them is not counted.
	if k.moves.held, _, err = k.moves.drain(); err != nil {
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
		_, err := k.programs[schedProgLook].Run(&ebpf.RunOptions{Flags: unix.BPF_F_TEST_RUN_ON_CPU, CPU: uint32(cpu)})
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
	if err := k.maps.Cpus.Lookup(uint32(0), &k.state); err != nil {
		return nil, fmt.Errorf("read per-CPU state: %w", err)
	}
	waits, err := k.waits(offline)
	if err != nil {
		return nil, err
	}
	parents, removed, err := k.ancestries()
	if err != nil {
		return nil, err
	}
	live, err := k.liveTasks()
	if err != nil {
		return nil, err
	}
	moves, moved, err := k.moves.drain()
	if err != nil {
		return nil, err
	}
	lost, err := k.moves.lost()
	if err != nil {
		return nil, err
	}
	suspended, err := suspendedTime()
	if err != nil {
		return nil, err
	}
	if err := k.counters.keep(k.state, offline); err != nil {
		return nil, err
	}
	k.holdBack(entries, offline)
	s := &Snapshot{At: k.lookedAt(offline) + suspended, Parents: parents, Cgroups: make(map[cgroup.ID]Usage, len(entries))}
	k.charge(s, entries, waits, live, moved)
	s.Moves, s.MovesLost = k.moves.known(moves, parents), lost
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
					e := &entries[i].perCPU[cpu]
					e.Ns += slot.Ns
					e.Switches += slot.Switches
					e.Cycles += slot.Cycles
					e.Instructions += slot.Instructions
				}
			}
		}
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
	if err := each(k.maps.Ancestries, k.usages.singly, take); err != nil {
		return nil, nil, fmt.Errorf("read ancestries: %w", err)
	}
	return parents, removed, nil
}

// each reads a whole hash.
func each[V any](m *ebpf.Map, singly bool, take func(uint64, V)) error {
	if !singly {
		return dump(m, take)
	}
	var id uint64
	var v V
	it := m.Iterate()
	for it.Next(&id, &v) {
		take(id, v)
	}
	return it.Err()
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
