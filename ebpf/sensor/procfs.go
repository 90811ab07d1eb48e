package sensor

import (
	"context"
	"time"

	"github.com/shirou/gopsutil/v3/process"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// procfs is the sensor of last resort: the machine as one cgroup, the root.
type procfs struct {
	ctx    context.Context
	topo   Topology
	cpus   *cpuTimes
	io     processIO
	missed []string
}

func openProcfs(c Config) (*procfs, error) {
	p := &procfs{ctx: hostContext(c.Procfs), topo: readTopology(c.Sysfs, possibleCPUs())}
	var err error
	if p.cpus, err = newCPUTimes(p.ctx, p.topo); err != nil {
		return nil, err
	}
	p.missed = []string{
		"cgroups: all time is charged to one account, in ticks of 10 ms; mount a cgroup2 file system, or run the eBPF sensor",
		"context switches: they come with the eBPF sensor",
		"the last I/O of a process that ends between two looks; the eBPF sensor has it",
	}
	hidden, err := p.readIO()
	if err != nil {
		return nil, err
	}
	if hidden {
		p.missed = append(p.missed, "I/O bytes of other users' processes: /proc/PID/io is theirs to read; run as root or with CAP_SYS_PTRACE")
	}
	return p, nil
}

// readIO looks at every process. What vanished or cannot be read is left out.
func (p *procfs) readIO() (hidden bool, err error) {
	pids, err := process.PidsWithContext(p.ctx)
	if err != nil {
		return false, err
	}
	var seen []processLook
	for _, pid := range pids {
		pr := process.Process{Pid: pid}
		io, err := pr.IOCountersWithContext(p.ctx)
		if err != nil {
			hidden = true
			continue
		}
		born, err := pr.CreateTimeWithContext(p.ctx)
		if err != nil {
			continue
		}
		seen = append(seen, processLook{processKey{pid, born}, ioBytes{io.ReadBytes, io.WriteBytes}})
	}
	p.io.update(seen)
	return hidden, nil
}

// Snapshot implements Sensor.
func (p *procfs) Snapshot() (*Snapshot, error) {
	at, err := bootTime()
	if err != nil {
		return nil, err
	}
	if err := p.cpus.read(); err != nil {
		return nil, err
	}
	if _, err := p.readIO(); err != nil {
		return nil, err
	}
	return &Snapshot{
		At: at,
		Cgroups: map[cgroup.ID]Usage{cgroup.Root: {
			OnCPU:   append([]time.Duration(nil), p.cpus.busy...),
			Read:    p.io.sum.Read,
			Written: p.io.sum.Written,
		}},
		Parents:  map[cgroup.ID]cgroup.ID{},
		Idle:     append([]time.Duration(nil), p.cpus.idle...),
		Overflow: Usage{OnCPU: make([]time.Duration, len(p.topo.Packages))},
	}, nil
}

// processKey names a process for good: a pid is used again.
type processKey struct {
	pid  int32
	born int64
}

type processLook struct {
	key   processKey
	bytes ioBytes
}

// processIO sums what processes did since the first look.
type processIO struct {
	last map[processKey]ioBytes
	sum  ioBytes
}

func (p *processIO) update(seen []processLook) {
	now := make(map[processKey]ioBytes, len(seen))
	for _, l := range seen {
		had, known := p.last[l.key]
		if p.last != nil || known {
			p.sum = p.sum.add(l.bytes.sub(had))
		}
		now[l.key] = l.bytes.max(had)
	}
	p.last = now
}

// Source implements Sensor.
func (p *procfs) Source() Source { return Procfs }

// Topology implements Sensor.
func (p *procfs) Topology() Topology { return p.topo.clone() }

// Missing implements Sensor.
func (p *procfs) Missing() []string { return p.missed }

// Close implements Sensor.
func (p *procfs) Close() error { return nil }
