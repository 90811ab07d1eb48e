package api

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cam-os/edge/ebpf/cgroupfs"
	"github.com/cam-os/edge/ebpf/histogram"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

func usage(u ledger.Usage) *camv1.Usage {
	c := u.Counters
	out := &camv1.Usage{
		CpuNanoseconds:  nanoseconds(u.CPU),
		ContextSwitches: u.Switches,
		IoReadBytes:     u.Read,
		IoWrittenBytes:  u.Written,
		RunQueue:        times(u.Wait),
		MovedOut:        c[ledger.MovedOut],
		MovedIn:         c[ledger.MovedIn],
		Cycles:          c[ledger.Cycles],
		Instructions:    c[ledger.Instructions],
	}
	// A part without any figure is left out: most accounts have few. Whether
	// that is because nobody counted, whole says.
	if has(c, ledger.ThrottledTime, ledger.ThrottledPeriods) {
		out.Throttle = &camv1.Throttle{Nanoseconds: c[ledger.ThrottledTime], Periods: c[ledger.ThrottledPeriods]}
	}
	if has(c, ledger.CPUStall, ledger.MemoryFullStall) {
		out.Pressure = &camv1.Pressure{
			CpuSomeNanoseconds: c[ledger.CPUStall], CpuFullNanoseconds: c[ledger.CPUFullStall],
			IoSomeNanoseconds: c[ledger.IOStall], IoFullNanoseconds: c[ledger.IOFullStall],
			MemorySomeNanoseconds: c[ledger.MemoryStall], MemoryFullNanoseconds: c[ledger.MemoryFullStall],
		}
	}
	if has(c, ledger.Reclaimed, ledger.MemoryPressureEvents) {
		out.Memory = &camv1.MemoryEvents{
			ReclaimedBytes: c[ledger.Reclaimed], RefaultedPages: c[ledger.Refaults],
			High: c[ledger.MemoryAtHigh], Max: c[ledger.MemoryAtMax], OomKills: c[ledger.OOMKills],
			PressureEvents: c[ledger.MemoryPressureEvents],
		}
	}
	if has(c, ledger.ReceivedBytes, ledger.RefusedConnections) {
		out.Network = &camv1.Network{
			ReceivedBytes: c[ledger.ReceivedBytes], ReceivedPackets: c[ledger.ReceivedPackets],
			SentBytes: c[ledger.SentBytes], SentPackets: c[ledger.SentPackets],
			RefusedConnections: c[ledger.RefusedConnections],
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(u.Block), ledger.CompareBlockKeys) {
		b := u.Block[k]
		out.Block = append(out.Block, &camv1.BlockUsage{
			Device: k.Device, Operation: k.Op.String(), Bytes: b.Bytes, Operations: b.Operations, Latency: times(b.Latency),
		})
	}
	for _, z := range slices.SortedFunc(maps.Keys(u.Energy), compareZones) {
		out.Energy = append(out.Energy, &camv1.ZoneEnergy{
			Zone: z.Name, Socket: socket(z), Microjoules: uint64(u.Energy[z]), Source: string(z.Source),
		})
	}
	return out
}

// whole puts in the parts that are measured and 0.
func whole(u *camv1.Usage, p cgroupfs.Parts) {
	if p.Throttle && u.Throttle == nil {
		u.Throttle = &camv1.Throttle{}
	}
	if p.Pressure && u.Pressure == nil {
		u.Pressure = &camv1.Pressure{}
	}
	if p.Memory && u.Memory == nil {
		u.Memory = &camv1.MemoryEvents{}
	}
}

// has says whether any counter from first to last is not 0.
func has(c ledger.Counters, first, last ledger.Counter) bool {
	return slices.ContainsFunc(c[first:last+1], func(v uint64) bool { return v != 0 })
}

// times leaves trailing zeros out; nil without any.
func times(h histogram.Log2) *camv1.Times {
	last := len(h.Counts)
	for last > 0 && h.Counts[last-1] == 0 {
		last--
	}
	if last == 0 {
		return nil
	}
	return &camv1.Times{Buckets: slices.Clone(h.Counts[:last]), SumNanoseconds: nanoseconds(h.Sum)}
}

func memory(m *cgroupfs.Memory) *camv1.Memory {
	if m == nil {
		return nil
	}
	return &camv1.Memory{
		CurrentBytes: m.Current, PeakBytes: m.Peak, WorkingSetBytes: m.WorkingSet, LimitBytes: m.Max, SwapBytes: m.Swap,
	}
}

func move(m observe.Move) *camv1.Move {
	return &camv1.Move{
		Time: timestamppb.New(m.Time), Process: int32(m.Process), Thread: int32(m.TID), // #nosec G115 -- process ids
		Command: m.Command, From: m.FromAccount, To: m.ToAccount, Fork: m.Fork,
		By: int32(m.By), ByCommand: m.ByCommand, // #nosec G115
	}
}
