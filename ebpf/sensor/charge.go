package sensor

import (
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/histogram"
)

// charge turns what the kernel has into the figures of a snapshot.
func (k *kernel) charge(s *Snapshot, entries []entry, waits map[cgroup.ID]histogram.Log2, live []liveTask, moved []movedTask) {
	s.Idle = make([]time.Duration, len(k.topo.Packages))
	s.Overflow = k.newUsage(make([]time.Duration, len(k.topo.Packages)))
	exited := make(map[cgroup.ID]ioBytes, len(entries)+1)
	var lost ioBytes
	for cpu := range k.state {
		c := &k.state[cpu]
		s.Idle[k.topo.PackageOf[cpu]] += time.Duration(c.Idle) // #nosec G115 -- 292 years of nanoseconds
		k.add(&s.Overflow, cpu, &c.Overflow)
		s.Overflow.Wait.Add(c.Waits.log2())
		lost = lost.add(ioBytes{c.Overflow.Read, c.Overflow.Written})
	}
	exited[overflow] = lost
	for _, e := range entries {
		exited[e.id] = ioBytes{e.total.Read, e.total.Written}
	}
	io := k.io.update(exited, live, moved, len(entries) >= k.max)
	s.Overflow.Read, s.Overflow.Written = io[overflow].Read, io[overflow].Written

	pkgs := len(k.topo.Packages)
	backing := make([]time.Duration, pkgs*len(entries))
	for i, e := range entries {
		u := k.newUsage(backing[i*pkgs : (i+1)*pkgs : (i+1)*pkgs])
		for cpu := range e.perCPU {
			k.add(&u, cpu, &e.perCPU[cpu])
		}
		u.Read, u.Written, u.Wait = io[e.id].Read, io[e.id].Written, waits[e.id]
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
		a.keep(&u)
		s.Cgroups[e.id] = u
	}
}

// newUsage has a place for what is counted by package.
func (k *kernel) newUsage(onCPU []time.Duration) Usage {
	u := Usage{OnCPU: onCPU}
	if k.has.cycles {
		u.Cycles, u.Instructions = make([]uint64, len(onCPU)), make([]uint64, len(onCPU))
	}
	return u
}

// add adds what one CPU counted, without I/O.
func (k *kernel) add(u *Usage, cpu int, v *schedUsage) {
	p := k.topo.PackageOf[cpu]
	u.OnCPU[p] += time.Duration(v.Ns) // #nosec G115 -- 292 years of nanoseconds
	u.Switches += v.Switches
	if k.has.cycles {
		u.Cycles[p] += v.Cycles
		u.Instructions[p] += v.Instructions
	}
}

// keep sees to it that no figure goes back: only a CPU that comes or goes
// during the look could make one less.
func (a *account) keep(u *Usage) {
	for p, had := range a.used.OnCPU {
		u.OnCPU[p] = max(u.OnCPU[p], had)
	}
	for p, had := range a.used.Cycles {
		u.Cycles[p] = max(u.Cycles[p], had)
		u.Instructions[p] = max(u.Instructions[p], a.used.Instructions[p])
	}
	u.Switches = max(u.Switches, a.used.Switches)
	u.Wait = u.Wait.Highest(a.used.Wait)
	a.used.OnCPU = append(a.used.OnCPU[:0], u.OnCPU...)
	a.used.Cycles = append(a.used.Cycles[:0], u.Cycles...)
	a.used.Instructions = append(a.used.Instructions[:0], u.Instructions...)
	a.used.Switches, a.used.Wait = u.Switches, u.Wait
}
