package report

import (
	"math"
	"strconv"
	"time"

	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// rate is n per second of the latest interval.
func (r Row) rate(n uint64) float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(n) / r.Seconds
}

// share is a time in the latest interval as a share of it.
func (r Row) share(nanoseconds uint64) float64 { return r.rate(nanoseconds) / 1e9 }

// Disk is what reached the disks in the latest interval, bytes per second of
// one operation; NaN where it is not measured.
func (r Row) Disk(operation string) float64 {
	if r.Interval.Block == nil {
		return math.NaN()
	}
	return r.rate(r.Interval.Disk(operation).Bytes)
}

// disks is all operations together.
func (r Row) disks() (sum BlockUsage, measured bool) {
	for _, b := range r.Interval.Block {
		sum.Bytes += b.Bytes
		sum.Operations += b.Operations
		sum.Latency = sum.Latency.Add(b.Latency)
	}
	return sum, r.Interval.Block != nil
}

func (r Row) diskOperations() float64 {
	sum, measured := r.disks()
	return orNaN(r.rate(sum.Operations), measured)
}

// diskLatency is the 99th percentile, in nanoseconds; 0 without requests.
func (r Row) diskLatency() float64 {
	sum, measured := r.disks()
	return orNaN(float64(sum.Latency.P99Nanoseconds), measured)
}

// ownIO is bytes per second that the account's own tasks read and write.
func (r Row) ownIO() float64 { return orNaN(r.ReadRate+r.WriteRate, !r.Lacking.IO) }

// Waiting is how many tasks were ready to run and waited, on average.
func (r Row) Waiting() float64 {
	if r.Interval.RunQueue == nil {
		return math.NaN()
	}
	return r.share(r.Interval.RunQueue.SumNanoseconds)
}

func (r Row) wait(quantile func(Times) uint64) float64 {
	if r.Interval.RunQueue == nil {
		return math.NaN()
	}
	return float64(quantile(*r.Interval.RunQueue))
}

func p50(t Times) uint64 { return t.P50Nanoseconds }
func p99(t Times) uint64 { return t.P99Nanoseconds }

// Throttled is the share of the time that cpu.max kept tasks off the CPUs.
func (r Row) Throttled() float64 {
	if r.Interval.Throttle == nil {
		return math.NaN()
	}
	return r.share(r.Interval.Throttle.Nanoseconds)
}

func (r Row) stall(of func(Pressure) uint64) float64 {
	if r.Interval.Pressure == nil {
		return math.NaN()
	}
	return r.share(of(*r.Interval.Pressure))
}

func cpuStall(p Pressure) uint64    { return p.CPUSome }
func ioStall(p Pressure) uint64     { return p.IOSome }
func memoryStall(p Pressure) uint64 { return p.MemorySome }

func (r Row) held(of func(Memory) uint64) float64 {
	if r.Memory == nil {
		return math.NaN()
	}
	return float64(of(*r.Memory))
}

func workingSet(m Memory) uint64 { return m.WorkingSetBytes }

func (r Row) reclaimed() float64 {
	if r.Interval.Memory == nil {
		return math.NaN()
	}
	return r.rate(r.Interval.Memory.ReclaimedBytes)
}

// oomKills is since the account was opened.
func (r Row) oomKills() float64 {
	if r.Total.Memory == nil {
		return math.NaN()
	}
	return float64(r.Total.Memory.OOMKills)
}

func (r Row) traffic(of func(Network) uint64) float64 {
	if r.Interval.Network == nil {
		return math.NaN()
	}
	return r.rate(of(*r.Interval.Network))
}

func received(n Network) uint64 { return n.ReceivedBytes }
func sent(n Network) uint64     { return n.SentBytes }

// refused is since the account was opened.
func (r Row) refused() float64 {
	if r.Total.Network == nil {
		return math.NaN()
	}
	return float64(r.Total.Network.RefusedConnections)
}

// escaped is tasks that somebody moved out, since the account was opened.
func (r Row) escaped() float64 {
	if r.Total.MovedOut == nil {
		return math.NaN()
	}
	return float64(*r.Total.MovedOut)
}

func orNaN(v float64, measured bool) float64 {
	if !measured {
		return math.NaN()
	}
	return v
}

// The figures as people read them; a dash where there is none.

func bytesText(v float64) string {
	if math.IsNaN(v) {
		return text.Absent
	}
	return text.Bytes(uint64(v))
}

// perSecond leaves the unit of time to the column's title.
func perSecond(v float64) string {
	if math.IsNaN(v) {
		return text.Absent
	}
	return text.Bytes(uint64(math.Ceil(v)))
}

func percentText(v float64) string { return text.Percent(v) }

// countText is a number without a unit.
func countText(v float64) string { return text.Count(v) }

// limitText is a number of bytes, where 0 is none.
func limitText(v float64) string {
	if v == 0 {
		return "none"
	}
	return bytesText(v)
}

// boundText is the upper bound of a power of two of microseconds: the times of
// a bucket are below it.
func boundText(nanoseconds float64) string {
	switch {
	case math.IsNaN(nanoseconds):
		return text.Absent
	case nanoseconds == 0:
		return "0"
	case nanoseconds >= float64(16*time.Second):
		return ">8s"
	}
	d := time.Duration(nanoseconds)
	unit, name := time.Microsecond, "µs"
	switch {
	case d >= time.Second:
		unit, name = time.Second, "s"
	case d >= time.Millisecond:
		unit, name = time.Millisecond, "ms"
	}
	return "<" + strconv.FormatInt(int64(math.Round(float64(d)/float64(unit))), 10) + name
}
