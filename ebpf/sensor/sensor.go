// Package sensor measures what every cgroup on the machine uses.
//
// Two implementations give the same Snapshot: one aggregates in the kernel
// with eBPF and is exact, one reads cgroup files and /proc and says so.
package sensor

import (
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/histogram"
)

// Source names where figures come from.
type Source string

// The sources, best first.
const (
	// EBPF: tp_btf programs, exact to the nanosecond at every switch and exit.
	EBPF Source = "ebpf"
	// Cgroup: cpu.stat and io.stat of each cgroup; exact in sum, without
	// sockets, so that the split over packages is an estimate where there are
	// several.
	Cgroup Source = "cgroup"
	// Procfs: the whole machine as one account, the root cgroup's, from
	// /proc/stat in clock ticks; no I/O.
	Procfs Source = "procfs"
)

// Usage is cumulative from the moment the sensor opened. It never goes back.
type Usage struct {
	// OnCPU is time spent running, by package: the index into
	// Topology.Packages.
	OnCPU []time.Duration
	// Switches counts how often a task of the cgroup was switched out.
	Switches uint64
	// Read and Written are bytes as the kernel's task I/O accounting counts
	// them (include/linux/task_io_accounting.h): fetched from, or dirtied to be
	// sent to, the storage layer. What a truncation cancels later is not taken
	// back: it may be another task's. Where only io.stat is at hand, its bytes.
	Read, Written uint64
	// Wait is how long tasks of the cgroup were ready to run before they ran,
	// one time for each start on a CPU: since they woke up, were preempted, or
	// were last taken to another CPU's queue. What they waited in the queue that
	// they were taken from is not in it.
	Wait histogram.Log2
	// Cycles are CPU cycles that the cgroup's tasks took, in user and in kernel
	// mode, by package; nil without a performance counter. Instructions
	// likewise.
	Cycles, Instructions []uint64
}

// Move is a task that changed its cgroup: what it used before stays with From,
// what it uses afterwards is To's. A process that moves with all its threads is
// one move, of its first thread.
type Move struct {
	At      time.Duration // CLOCK_BOOTTIME
	TID     int
	Process int // thread group
	Command string
	// From is 0 where it is not known: of processes that another pid namespace
	// hides from the sensor when it opens, and where more than 16384 run.
	From, To cgroup.ID
	// Fork: it was born in To, as a child of a task in From (clone3 with
	// CLONE_INTO_CGROUP).
	Fork bool
	// By is who moved it: the writer of cgroup.procs.
	By        int
	ByCommand string
}

// Topology is how CPUs lie in packages (sockets).
type Topology struct {
	// Packages holds the physical package ids, ascending; at least one.
	Packages []int
	// PackageOf maps a CPU number to its index in Packages.
	PackageOf []int
}

// Snapshot is one look at all cgroups. Two snapshots of one sensor are
// comparable by difference.
type Snapshot struct {
	// At is CLOCK_BOOTTIME when the look was taken: it counts suspended time
	// and never jumps. With eBPF it is the mean over CPUs, each looked at in
	// turn, so that between two snapshots all of Cgroups, Idle and Overflow
	// together are the time that passed, times the CPUs online, less suspended
	// time.
	At time.Duration
	// Cgroups holds each cgroup that ever used anything, or that a task moved
	// from or to, itself only, without its descendants. A cgroup absent from the previous snapshot starts from
	// zero. A removed cgroup stays until its last figure was seen in at least
	// one snapshot; if an id leaves and returns, it starts from zero again.
	Cgroups map[cgroup.ID]Usage
	// Parents has the parent of every id in Cgroups, and of those parents up to
	// the root, also for cgroups that lived only between two snapshots.
	Parents map[cgroup.ID]cgroup.ID
	// Idle is time that CPUs spent in the idle task, by package. A CPU that was
	// taken offline brings that time along when it comes back.
	Idle []time.Duration
	// Overflow is what was measured while the kernel's map had no room for
	// another cgroup: real use without a name.
	Overflow Usage
	// Moves since the previous snapshot, oldest first; MovesLost is how many
	// more there were, cumulative, for which the kernel's buffer had no room.
	Moves     []Move
	MovesLost uint64
	// Probes is what measuring costs; empty without eBPF.
	Probes []Probe
}

// Probe is the cost of one kernel program, both 0 while the kernel's
// kernel.bpf_stats_enabled is off.
type Probe struct {
	Name string
	Runs uint64
	Time time.Duration
}

// Measures says which figures a sensor has. One that it has not is 0 in every
// Usage, and no face may show it as one.
type Measures struct {
	// Agents: figures per cgroup, so that agents can be told from the rest.
	Agents bool
	// Switches: Usage.Switches.
	Switches bool
	// IO: Usage.Read and Usage.Written.
	IO bool
	// Waits: Usage.Wait.
	Waits bool
	// Moves: Snapshot.Moves.
	Moves bool
	// Cycles: Usage.Cycles and Instructions.
	Cycles bool
}

// Sensor is implemented by the eBPF and the file readers.
type Sensor interface {
	// Snapshot takes a look. It must not be called concurrently. An error
	// means that nothing was measured; the next call catches up.
	Snapshot() (*Snapshot, error)
	Source() Source
	Topology() Topology
	// Measures stays the same while the sensor is open.
	Measures() Measures
	// Missing says in words what this sensor cannot measure, and the remedy.
	Missing() []string
	Close() error
}
