package block

import (
	"fmt"
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/histogram"
	"github.com/cam-os/edge/ebpf/sensor"
)

// account is what the last looks said of one key.
type account struct {
	base   Usage // of entries that were removed under a key that came right back
	entry  Usage // as the kernel has it
	silent int   // looks since entry changed
	reaped bool  // the entry was removed, and base has it
}

// Snapshot takes a look. It must not be called concurrently. An error means
// that nothing was learned; the next call catches up.
func (s *Sensor) Snapshot() (*Snapshot, error) {
	// Before the map; see unseen. A file that cannot be read now is at the next
	// look.
	if all, err := readDiskstats(s.unseen.procfs); err == nil {
		s.unseen.take(all)
	}
	entries, err := s.entries()
	if err != nil {
		return nil, err
	}
	var lost []blockIoUsage
	if err := s.objs.Overflow.Lookup(uint32(0), &lost); err != nil {
		return nil, fmt.Errorf("block: read the overflow: %w", err)
	}
	parents, removed, err := s.parents()
	if err != nil {
		return nil, err
	}
	names, err := s.diskNames()
	if err != nil {
		return nil, err
	}
	s.exhume(entries, parents, removed)
	out := &Snapshot{
		Usage:    s.charge(entries),
		Parents:  parents,
		Disks:    make(map[Device]Disk),
		Overflow: sum(lost),
	}
	out.Unseen = s.unseen.compare(s.disks.sysfs, entries, out.Overflow)
	out.Probes, out.Missed = s.cost()
	gone := make(map[Device]bool)
	for _, usage := range []map[Key]Usage{out.Usage, out.Unseen} {
		for k := range usage {
			if _, done := out.Disks[k.Device]; !done {
				d, there := s.disks.look(k.Device, names[k.Device])
				out.Disks[k.Device], gone[k.Device] = d, !there
			}
		}
	}
	s.reap(parents, removed, gone)
	s.disks.keep(out.Disks)
	return out, nil
}

// entries is what the kernel's map has.
func (s *Sensor) entries() (map[Key]Usage, error) {
	entries := make(map[Key]Usage, len(s.seen))
	err := s.usages.read(func(k blockIoKey, v []blockIoUsage) { entries[k.key()] = sum(v) })
	return entries, err
}

// charge brings the accounts up to date. A key whose entry was removed after
// the last look and that is not back is forgotten: it will start from zero.
func (s *Sensor) charge(entries map[Key]Usage) map[Key]Usage {
	usage := make(map[Key]Usage, len(entries))
	for k, e := range entries {
		a := s.seen[k]
		if a == nil {
			a = &account{}
			s.seen[k] = a
		}
		if a.reaped = false; a.entry == e {
			a.silent++
		} else {
			a.entry, a.silent = e, 0
		}
		usage[k] = a.total()
	}
	for k, a := range s.seen {
		if a.reaped {
			delete(s.seen, k)
		}
	}
	return usage
}

func (a *account) total() Usage { return a.base.plus(a.entry) }

func (u Usage) plus(o Usage) Usage {
	u.Bytes += o.Bytes
	u.Operations += o.Operations
	u.Latency.Add(o.Latency)
	return u
}

func (k blockIoKey) key() Key {
	return Key{Cgroup: cgroup.ID(k.Cgroup), Device: device(k.Dev), Op: Operation(k.Op)} // #nosec G115 -- the program's enum
}

// kernel is how the program keys a Key.
func (k Key) kernel() blockIoKey {
	return blockIoKey{Cgroup: uint64(k.Cgroup), Dev: k.Device.Major<<minorBits | k.Device.Minor, Op: uint32(k.Op)}
}

// minorBits is how a dev_t is split inside the kernel (include/linux/kdev_t.h).
const minorBits = 20

func device(dev uint32) Device { return Device{dev >> minorBits, dev & (1<<minorBits - 1)} }

// sum adds up what the CPUs counted.
func sum(cpus []blockIoUsage) (u Usage) {
	for _, c := range cpus {
		l := histogram.Log2{Counts: c.Counts, Sum: time.Duration(c.Ns)} // #nosec G115 -- 292 years of nanoseconds
		u = u.plus(Usage{Bytes: c.Bytes, Operations: l.Count() + c.Untimed, Latency: l})
	}
	return u
}

// parents has the parent of every known cgroup, and which are removed.
func (s *Sensor) parents() (parents map[cgroup.ID]cgroup.ID, removed map[cgroup.ID]bool, err error) {
	parents, removed = make(map[cgroup.ID]cgroup.ID), make(map[cgroup.ID]bool)
	err = s.ancestries.read(func(id uint64, a []blockAncestry) {
		parents[cgroup.ID(id)] = cgroup.ID(a[0].Parent)
		if a[0].Removed != 0 {
			removed[cgroup.ID(id)] = true
		}
	})
	return parents, removed, err
}

func (s *Sensor) diskNames() (map[Device]string, error) {
	names := make(map[Device]string)
	err := s.names.read(func(dev uint32, n []blockDiskName) { names[device(dev)] = n[0].String() })
	return names, err
}

// String is the name as sysfs has it: there a slash is an exclamation mark
// (lib/kobject.c, kobject_set_name_vargs).
func (n blockDiskName) String() string {
	var b []byte
	for _, c := range n.Name {
		switch c {
		case 0:
			return string(b)
		case '/':
			c = '!'
		}
		b = append(b, byte(c)) // #nosec G115 -- C's char
	}
	return string(b)
}

func (s *Sensor) cost() (probes []sensor.Probe, missed uint64) {
	for _, p := range s.programs() {
		pr := sensor.Probe{Name: p.name}
		if st, err := p.prog.Stats(); err == nil {
			pr.Runs, pr.Time = st.RunCount, st.Runtime
			missed += st.RecursionMisses
		}
		probes = append(probes, pr)
	}
	return probes, missed
}
