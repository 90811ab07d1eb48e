package ledger

import (
	"cmp"
	"slices"

	"github.com/cam-os/edge/ebpf/block"
)

// Counter is a cumulative figure of an account that the kernel keeps for a
// cgroup. Only agents have them, and the network's and the controllers' only
// where those are measured.
type Counter uint8

// The counters. Their String is what the store and the interface call them, so
// it never changes.
const (
	// ThrottledTime and ThrottledPeriods are what cpu.max cost (cpu.stat).
	ThrottledTime Counter = iota // nanoseconds
	ThrottledPeriods
	// Stalls are from the pressure files: some task waited, or all did.
	CPUStall        // nanoseconds, some
	CPUFullStall    // nanoseconds, all; since Linux 5.13
	IOStall         // nanoseconds
	IOFullStall     // nanoseconds
	MemoryStall     // nanoseconds
	MemoryFullStall // nanoseconds
	// Memory, from memory.stat and memory.events.
	Reclaimed    // bytes
	Refaults     // pages
	MemoryAtHigh // times
	MemoryAtMax  // times
	OOMKills     // processes
	// MemoryPressureEvents: times that the kernel told of a stall of 15% within
	// a window (a PSI trigger).
	MemoryPressureEvents
	// Network.
	ReceivedBytes
	ReceivedPackets
	SentBytes
	SentPackets
	RefusedConnections
	// Escapes: tasks moved into the account's cgroups by somebody, and out.
	MovedIn
	MovedOut
	// Cycles and Instructions of a performance counter.
	Cycles
	Instructions

	NumCounters
)

var counterNames = [NumCounters]string{
	"throttled_time_ns", "throttled_periods",
	"cpu_stall_ns", "cpu_full_stall_ns", "io_stall_ns", "io_full_stall_ns", "memory_stall_ns", "memory_full_stall_ns",
	"memory_reclaimed_bytes", "memory_refaults", "memory_at_high", "memory_at_max", "memory_oom_kills", "memory_pressure_events",
	"network_received_bytes", "network_received_packets", "network_sent_bytes", "network_sent_packets", "network_refused_connections",
	"moved_in", "moved_out",
	"cycles", "instructions",
}

// String is the counter's name, with its unit.
func (c Counter) String() string {
	if c >= NumCounters {
		return "unknown"
	}
	return counterNames[c]
}

// CounterNamed is the inverse of String.
func CounterNamed(name string) (Counter, bool) {
	i := slices.Index(counterNames[:], name)
	return Counter(max(i, 0)), i >= 0 // #nosec G115 -- below NumCounters
}

// Counters holds a figure for each Counter.
type Counters [NumCounters]uint64

func (c *Counters) add(d Counters) {
	for i, v := range d {
		c[i] += v
	}
}

func (c Counters) since(earlier Counters) Counters {
	for i, v := range earlier {
		c[i] = above(c[i], v)
	}
	return c
}

func (c Counters) highest(o Counters) Counters {
	for i, v := range o {
		c[i] = max(c[i], v)
	}
	return c
}

// BlockKey says where block I/O went, and what it was.
type BlockKey struct {
	// Device is the whole disk, such as nvme0n1. Stacked devices are left out:
	// the disks below them have the same bytes.
	Device string
	Op     block.Operation
}

// CompareBlockKeys orders by device, then operation.
func CompareBlockKeys(a, b BlockKey) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Op, b.Op))
}

// addBlock adds d to m, which is made when it is needed.
func addBlock(m map[BlockKey]block.Usage, k BlockKey, d block.Usage) map[BlockKey]block.Usage {
	if d == (block.Usage{}) {
		return m
	}
	if m == nil {
		m = make(map[BlockKey]block.Usage)
	}
	u := m[k]
	u.Bytes += d.Bytes
	u.Operations += d.Operations
	u.Latency.Add(d.Latency)
	m[k] = u
	return m
}

func sinceBlock(now, earlier block.Usage) block.Usage {
	return block.Usage{
		Bytes:      above(now.Bytes, earlier.Bytes),
		Operations: above(now.Operations, earlier.Operations),
		Latency:    now.Latency.Since(earlier.Latency),
	}
}

func highestBlock(a, b block.Usage) block.Usage {
	return block.Usage{
		Bytes: max(a.Bytes, b.Bytes), Operations: max(a.Operations, b.Operations),
		Latency: a.Latency.Highest(b.Latency),
	}
}

// Since is what came between two totals; nothing in it is negative.
func (u Usage) Since(earlier Usage) Usage {
	d := Usage{
		CPU: max(u.CPU-earlier.CPU, 0), Switches: above(u.Switches, earlier.Switches),
		Read: above(u.Read, earlier.Read), Written: above(u.Written, earlier.Written),
		Wait: u.Wait.Since(earlier.Wait), Counters: u.Counters.since(earlier.Counters),
	}
	for z, e := range u.Energy {
		if b := earlier.Energy[z]; e > b {
			d.joules(z, e-b)
		}
	}
	for k, b := range u.Block {
		d.Block = addBlock(d.Block, k, sinceBlock(b, earlier.Block[k]))
	}
	return d
}

// BlockSum is what was done on all devices.
func (u Usage) BlockSum(op block.Operation) block.Usage {
	var sum block.Usage
	for k, b := range u.Block {
		if k.Op == op {
			sum.Bytes += b.Bytes
			sum.Operations += b.Operations
			sum.Latency.Add(b.Latency)
		}
	}
	return sum
}
