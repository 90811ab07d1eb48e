package sensor

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v3/common"
	"github.com/shirou/gopsutil/v3/cpu"
)

// hostContext points gopsutil at a procfs root.
func hostContext(procfs string) context.Context {
	return context.WithValue(context.Background(), common.EnvKey, common.EnvMap{common.HostProcEnvKey: procfs})
}

// cpuTimes sums what /proc/stat says of each CPU since the first reading, by
// package. A CPU that goes offline keeps what it had, and a figure that goes
// back (iowait does) stays where it was.
type cpuTimes struct {
	ctx  context.Context
	topo Topology
	last map[int]cpu.TimesStat
	busy []time.Duration
	idle []time.Duration
}

func newCPUTimes(ctx context.Context, topo Topology) (*cpuTimes, error) {
	c := &cpuTimes{
		ctx: ctx, topo: topo,
		busy: make([]time.Duration, len(topo.Packages)),
		idle: make([]time.Duration, len(topo.Packages)),
	}
	return c, c.read()
}

func (c *cpuTimes) read() error {
	times, err := cpu.TimesWithContext(c.ctx, true)
	if err == nil && len(times) == 0 {
		err = fmt.Errorf("no CPU in it")
	}
	if err != nil {
		return fmt.Errorf("read the CPU times of /proc/stat: %w", err)
	}
	first := c.last == nil
	if first {
		c.last = make(map[int]cpu.TimesStat)
	}
	for _, t := range times {
		n, err := strconv.Atoi(strings.TrimPrefix(t.CPU, "cpu"))
		if err != nil || n < 0 || n >= len(c.topo.PackageOf) {
			continue
		}
		had, known := c.last[n]
		c.last[n] = t
		if !known && !first {
			had = t // came online
		}
		if known || !first {
			p := c.topo.PackageOf[n]
			c.busy[p] += seconds(busySeconds(t) - busySeconds(had))
			c.idle[p] += seconds(t.Idle + t.Iowait - had.Idle - had.Iowait)
		}
	}
	return nil
}

// busySeconds leaves guest time out: the kernel has it in user already.
func busySeconds(t cpu.TimesStat) float64 { return t.User + t.Nice + t.System + t.Irq + t.Softirq }

// seconds rounds to clock ticks of 10 ms, which is what it was before gopsutil
// divided; what is no time gives 0.
func seconds(s float64) time.Duration {
	if !(s > 0) || s > math.MaxInt32 {
		return 0
	}
	return time.Duration(math.Round(s*100)) * 10 * time.Millisecond
}

// split divides d over packages as the shares say, to the nanosecond.
func split(d time.Duration, shares []time.Duration) []time.Duration {
	out := make([]time.Duration, len(shares))
	var whole time.Duration
	for _, s := range shares {
		whole += s
	}
	rest := d
	for i, s := range shares[:len(shares)-1] {
		share := 1 / float64(len(shares))
		if whole > 0 {
			share = float64(s) / float64(whole)
		}
		out[i] = min(rest, time.Duration(share*float64(d)))
		rest -= out[i]
	}
	out[len(out)-1] = rest
	return out
}
