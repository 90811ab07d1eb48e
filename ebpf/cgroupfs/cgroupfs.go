// Package cgroupfs reads what the kernel's controllers say of one cgroup:
// cpu.stat, memory.*, io.stat and the pressure files.
//
// Formats: Documentation/admin-guide/cgroup-v2.rst and
// Documentation/accounting/psi.rst. A file that is absent (controller not
// enabled, older kernel) leaves its figures out; it is no error.
package cgroupfs

import "time"

// Stat is one look at one cgroup, its descendants included. A nil part is not
// measured: its controller is not enabled there, or the kernel lacks it.
type Stat struct {
	// Throttled by cpu.max; cumulative.
	Throttle *Throttle
	Memory   *Memory
	// Pressure by resource, cumulative time in which tasks stalled.
	CPU, IO, Mem *Pressure
}

// Parts says what is measured of a cgroup: the parts of a Stat, and its I/O on
// disks, which the kernel can tell where the io controller is enabled.
type Parts struct{ Throttle, Memory, Pressure, Block bool }

// Parts of this look; the caller knows of Block.
func (s Stat) Parts() Parts {
	return Parts{Throttle: s.Throttle != nil, Memory: s.Memory != nil, Pressure: s.CPU != nil || s.IO != nil || s.Mem != nil}
}

// And is what both have.
func (p Parts) And(o Parts) Parts {
	return Parts{p.Throttle && o.Throttle, p.Memory && o.Memory, p.Pressure && o.Pressure, p.Block && o.Block}
}

// Throttle is from cpu.stat: by the cgroup's own cpu.max, not by one above or
// below it.
type Throttle struct {
	Periods uint64 // in which the group was throttled (nr_throttled)
	Time    time.Duration
}

// Pressure is the cumulative `total` of a pressure file: some task stalled, or
// all of them did. Full of the CPU is 0 before Linux 5.13.
type Pressure struct{ Some, Full time.Duration }

// Memory is from memory.*; bytes.
type Memory struct {
	Current uint64
	// Peak since the cgroup was made; 0 before Linux 5.19, and then estimated
	// by who watches. Between two Reads that look at it, at most ten apart, it
	// is no less than Current was.
	Peak uint64
	// WorkingSet is Current less inactive file pages, as cAdvisor and the
	// kubelet define it.
	WorkingSet uint64
	// Max is memory.max, at most ten Reads old; 0 for no limit.
	Max  uint64
	Swap uint64
	// Cumulative: bytes reclaimed (pgsteal), pages fetched again that had been
	// evicted (workingset_refault), times memory.high and memory.max were hit,
	// tasks killed for want of memory. All are of memory.events, not of its
	// .local: a cgroup answers for those below it, and the limit that killed may
	// be above the task. (Mounted with memory_localevents, both are the same.)
	Reclaimed uint64
	Refaults  uint64
	AtHigh    uint64
	AtMax     uint64
	OOMKills  uint64
}

// Enabled names the controllers that are enabled for a cgroup
// (cgroup.controllers of it), such as cpu, io, memory, pids.
type Enabled []string
