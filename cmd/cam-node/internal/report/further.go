package report

import (
	"slices"
	"time"

	"github.com/cam-os/edge/ebpf/histogram"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// Further is what is measured beside CPU time, own I/O and energy; nil is what
// nobody counts.
type Further struct {
	RunQueue     *Times        `json:"run_queue"`
	Block        []BlockUsage  `json:"block"`
	Throttle     *Throttle     `json:"throttle"`
	Pressure     *Pressure     `json:"pressure"`
	Memory       *MemoryEvents `json:"memory"`
	Network      *Network      `json:"network"`
	MovedOut     *uint64       `json:"moved_out"`
	MovedIn      *uint64       `json:"moved_in"`
	Cycles       *uint64       `json:"cycles"`
	Instructions *uint64       `json:"instructions"`
}

// Times is a distribution of times: bucket 0 counts those below 1 µs, bucket i
// those from 2^(i-1) µs to below 2^i µs. P50 and P99 are the upper bounds of
// the buckets in which those quantiles lie, 0 without any.
type Times struct {
	Count          uint64   `json:"count"`
	SumNanoseconds uint64   `json:"sum_nanoseconds"`
	P50Nanoseconds uint64   `json:"p50_nanoseconds"`
	P99Nanoseconds uint64   `json:"p99_nanoseconds"`
	Buckets        []uint64 `json:"buckets"`
}

// BlockUsage is what was done to one disk.
type BlockUsage struct {
	Device     string `json:"device"`
	Operation  string `json:"operation"`
	Bytes      uint64 `json:"bytes"`
	Operations uint64 `json:"operations"`
	Latency    Times  `json:"latency"`
}

// Throttle is what cpu.max cost.
type Throttle struct {
	Nanoseconds uint64 `json:"nanoseconds"`
	Periods     uint64 `json:"periods"`
}

// Pressure is time in which some task waited for a resource, or all did.
type Pressure struct {
	CPUSome    uint64 `json:"cpu_some_nanoseconds"`
	CPUFull    uint64 `json:"cpu_full_nanoseconds"`
	IOSome     uint64 `json:"io_some_nanoseconds"`
	IOFull     uint64 `json:"io_full_nanoseconds"`
	MemorySome uint64 `json:"memory_some_nanoseconds"`
	MemoryFull uint64 `json:"memory_full_nanoseconds"`
}

// MemoryEvents is what became of an agent's memory.
type MemoryEvents struct {
	ReclaimedBytes uint64 `json:"reclaimed_bytes"`
	RefaultedPages uint64 `json:"refaulted_pages"`
	High           uint64 `json:"high"`
	Max            uint64 `json:"max"`
	OOMKills       uint64 `json:"oom_kills"`
	PressureEvents uint64 `json:"pressure_events"`
}

// Network is the traffic of an agent's sockets.
type Network struct {
	ReceivedBytes      uint64 `json:"received_bytes"`
	ReceivedPackets    uint64 `json:"received_packets"`
	SentBytes          uint64 `json:"sent_bytes"`
	SentPackets        uint64 `json:"sent_packets"`
	RefusedConnections uint64 `json:"refused_connections"`
}

// Memory is what an agent holds now; a limit or peak of 0 is none, or not known.
type Memory struct {
	CurrentBytes    uint64 `json:"current_bytes"`
	PeakBytes       uint64 `json:"peak_bytes"`
	WorkingSetBytes uint64 `json:"working_set_bytes"`
	LimitBytes      uint64 `json:"limit_bytes"`
	SwapBytes       uint64 `json:"swap_bytes"`
}

// Move is a task that left an agent.
type Move struct {
	Time      time.Time `json:"time"`
	Process   int32     `json:"process"`
	Thread    int32     `json:"thread"`
	Command   string    `json:"command"`
	From      string    `json:"from"`
	To        string    `json:"to"`
	Fork      bool      `json:"fork"`
	By        int32     `json:"by"`
	ByCommand string    `json:"by_command"`
}

func times(t *camv1.Times) Times {
	var h histogram.Log2
	copy(h.Counts[:], t.GetBuckets())
	h.Sum = time.Duration(min(t.GetSumNanoseconds(), 1<<63-1)) // #nosec G115 -- capped
	return timesOf(h)
}

func timesOf(h histogram.Log2) Times {
	t := Times{
		Count: h.Count(), SumNanoseconds: uint64(h.Sum), // #nosec G115 -- never negative
		P50Nanoseconds: uint64(h.Quantile(0.5)), P99Nanoseconds: uint64(h.Quantile(0.99)), // #nosec G115
		Buckets: []uint64{},
	}
	last := len(h.Counts)
	for last > 0 && h.Counts[last-1] == 0 {
		last--
	}
	t.Buckets = append(t.Buckets, h.Counts[:last]...)
	return t
}

func (t Times) log2() (h histogram.Log2) {
	copy(h.Counts[:], t.Buckets)
	h.Sum = time.Duration(min(t.SumNanoseconds, 1<<63-1)) // #nosec G115 -- capped
	return h
}

// Add is both together.
func (t Times) Add(o Times) Times {
	h := t.log2()
	h.Add(o.log2())
	return timesOf(h)
}

// furtherOf takes what a usage has. A node leaves out parts that are all 0, so
// one that only some agents have (throttling, pressure, memory) is known to be
// measured once it was above 0.
func furtherOf(p *camv1.Usage, l Lacking) Further {
	var f Further
	if q := p.GetRunQueue(); q != nil || !l.Waits {
		t := times(q)
		f.RunQueue = &t
	}
	if !l.Block || len(p.GetBlock()) > 0 {
		f.Block = make([]BlockUsage, 0, len(p.GetBlock()))
		for _, b := range p.GetBlock() {
			f.Block = append(f.Block, BlockUsage{b.GetDevice(), b.GetOperation(), b.GetBytes(), b.GetOperations(), times(b.GetLatency())})
		}
	}
	if t := p.GetThrottle(); t != nil {
		f.Throttle = &Throttle{t.GetNanoseconds(), t.GetPeriods()}
	}
	if q := p.GetPressure(); q != nil {
		f.Pressure = &Pressure{q.GetCpuSomeNanoseconds(), q.GetCpuFullNanoseconds(), q.GetIoSomeNanoseconds(), q.GetIoFullNanoseconds(),
			q.GetMemorySomeNanoseconds(), q.GetMemoryFullNanoseconds()}
	}
	if m := p.GetMemory(); m != nil {
		f.Memory = &MemoryEvents{m.GetReclaimedBytes(), m.GetRefaultedPages(), m.GetHigh(), m.GetMax(), m.GetOomKills(), m.GetPressureEvents()}
	}
	if n := p.GetNetwork(); n != nil || !l.Network {
		f.Network = &Network{n.GetReceivedBytes(), n.GetReceivedPackets(), n.GetSentBytes(), n.GetSentPackets(), n.GetRefusedConnections()}
	}
	f.MovedOut, f.MovedIn = known(p.GetMovedOut(), l.Moves), known(p.GetMovedIn(), l.Moves)
	f.Cycles, f.Instructions = known(p.GetCycles(), l.Cycles), known(p.GetInstructions(), l.Cycles)
	return f
}

// as gives f the parts that total has, as 0: they are measured.
func (f *Further) as(total Further) {
	if f.Throttle == nil && total.Throttle != nil {
		f.Throttle = &Throttle{}
	}
	if f.Pressure == nil && total.Pressure != nil {
		f.Pressure = &Pressure{}
	}
	if f.Memory == nil && total.Memory != nil {
		f.Memory = &MemoryEvents{}
	}
}

func memory(m *camv1.Memory) *Memory {
	if m == nil {
		return nil
	}
	return &Memory{m.GetCurrentBytes(), m.GetPeakBytes(), m.GetWorkingSetBytes(), m.GetLimitBytes(), m.GetSwapBytes()}
}

func moves(list []*camv1.Move) []Move {
	out := make([]Move, 0, len(list))
	for _, m := range list {
		out = append(out, Move{m.GetTime().AsTime(), m.GetProcess(), m.GetThread(), m.GetCommand(), m.GetFrom(), m.GetTo(), m.GetFork(), m.GetBy(), m.GetByCommand()})
	}
	return out
}

// Disk is what was done to all disks by one operation; Latency is the sum of
// theirs.
func (f Further) Disk(operation string) BlockUsage {
	sum := BlockUsage{Operation: operation}
	for _, b := range f.Block {
		if b.Operation == operation {
			sum.Bytes += b.Bytes
			sum.Operations += b.Operations
			sum.Latency = sum.Latency.Add(b.Latency)
		}
	}
	return sum
}

// Devices names the disks that were used.
func (f Further) Devices() []string {
	var names []string
	for _, b := range f.Block {
		if !slices.Contains(names, b.Device) {
			names = append(names, b.Device)
		}
	}
	slices.Sort(names)
	return names
}
