package sensor

import (
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// procfs is the sensor of last resort: the machine as one cgroup, the root.
//
// It does not measure I/O: /proc/PID/io has what reaped children did as well
// (kernel/exit.c, wait_task_zombie), so that the sum over processes counts the
// same bytes once for each ancestor.
type procfs struct {
	topo   Topology
	cpus   *cpuTimes
	missed []string
}

func openProcfs(c Config) (*procfs, error) {
	p := &procfs{topo: readTopology(c.Sysfs, possibleCPUs())}
	var err error
	if p.cpus, err = newCPUTimes(hostContext(c.Procfs), p.topo); err != nil {
		return nil, err
	}
	p.missed = []string{
		"cgroups: all time is charged to one account, in ticks of 10 ms; mount a cgroup2 file system, or run the eBPF sensor",
		"context switches: they come with the eBPF sensor",
		"I/O bytes: /proc counts those of reaped children again; they come with the eBPF sensor, or with cgroup2's io controller",
	}
	return p, nil
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
	return &Snapshot{
		At:       at,
		Cgroups:  map[cgroup.ID]Usage{cgroup.Root: {OnCPU: append([]time.Duration(nil), p.cpus.busy...)}},
		Parents:  map[cgroup.ID]cgroup.ID{},
		Idle:     append([]time.Duration(nil), p.cpus.idle...),
		Overflow: Usage{OnCPU: make([]time.Duration, len(p.topo.Packages))},
	}, nil
}

// Source implements Sensor.
func (p *procfs) Source() Source { return Procfs }

// Topology implements Sensor.
func (p *procfs) Topology() Topology { return p.topo.clone() }

// Measures implements Sensor.
func (p *procfs) Measures() Measures { return Measures{} }

// Missing implements Sensor.
func (p *procfs) Missing() []string { return p.missed }

// Close implements Sensor.
func (p *procfs) Close() error { return nil }
