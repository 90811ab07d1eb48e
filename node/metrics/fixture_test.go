package metrics

import (
	"time"

	"github.com/cam-os/edge/ebpf/block"
	"github.com/cam-os/edge/ebpf/cgroupfs"
	"github.com/cam-os/edge/ebpf/histogram"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// everything is a node that measures all there is, n intervals after it began:
// two sockets, two disks, agents a (which has a memory limit) and b.
func everything(n int) *observe.Observation {
	k := uint64(n) // #nosec G115 -- positive
	zone := energy.Zone{Name: energy.Package, Source: energy.Simulated}
	other := energy.Zone{Name: energy.Package, Socket: 1, Source: energy.Simulated}
	times := func(base uint64) (h histogram.Log2) {
		for i := range h.Counts {
			h.Counts[i] = base * k * uint64(histogram.Buckets-i)
		}
		h.Sum = time.Duration(k*base) * time.Millisecond
		return h
	}
	on := func(bytes uint64) block.Usage {
		return block.Usage{Bytes: bytes * k, Operations: bytes * k / 4096, Latency: times(2)}
	}
	used := ledger.Usage{
		CPU: time.Duration(k) * time.Second, Switches: 2 * k, Read: 3 * k, Written: 4 * k, Wait: times(3),
		Energy: map[energy.Zone]energy.Microjoules{zone: 5e5 * energy.Microjoules(k), other: 6e5 * energy.Microjoules(k)},
		Block: map[ledger.BlockKey]block.Usage{
			{Device: "nvme0n1", Op: block.Read}: on(1 << 20), {Device: "nvme0n1", Op: block.Write}: on(1 << 21),
			{Device: "sda", Op: block.Write}: on(1 << 16),
		},
	}
	for i := range used.Counters {
		used.Counters[i] = uint64(i+1) * k // #nosec G115 -- small
	}
	for i := ledger.ThrottledTime; i <= ledger.MemoryFullStall; i++ {
		used.Counters[i] *= 1e7
	}
	parts := ledger.ZoneAccount{Metered: 1e6 * energy.Microjoules(k), Agents: 6e5 * energy.Microjoules(k), Idle: 4e5 * energy.Microjoules(k), Power: 1e6}
	zones := []ledger.ZoneAccount{parts, parts}
	zones[0].Reading.Zone, zones[1].Reading.Zone = zone, other
	memory := &cgroupfs.Memory{Current: 300 << 20, Peak: 400 << 20, WorkingSet: 250 << 20, Max: 512 << 20, Swap: 1 << 20}
	return &observe.Observation{
		Time: time.Now(), Interval: time.Second, Sequence: k,
		Sensor: sensor.EBPF, Measures: sensor.Measures{Agents: true, Switches: true, IO: true, Waits: true, Moves: true, Cycles: true},
		Further: observe.Further{Block: true, Controllers: true, Network: true},
		Probes:  []sensor.Probe{{Name: "sched_switch", Runs: 1000 * k, Time: time.Duration(k) * time.Millisecond}}, Self: used,
		Agents: map[string]observe.Agent{
			"a": {Name: "a", Cgroup: "/cam.slice/cam-a.scope", State: observe.Running, Memory: memory},
			"b": {Name: "b", Cgroup: "/cam.slice/cam-b.scope", State: observe.Running, Memory: &cgroupfs.Memory{Current: 1}},
		},
		Accounts: []ledger.Account{
			{Name: "a", Kind: ledger.KindAgent, Total: used}, {Name: "b", Kind: ledger.KindAgent, Total: used},
			{Name: ledger.Retired, Kind: ledger.KindRetired, Total: used}, {Name: ledger.System, Kind: ledger.KindSystem, Total: used},
			{Name: ledger.Idle, Kind: ledger.KindIdle, Total: used}, {Name: ledger.Unattributed, Kind: ledger.KindUnattributed, Total: used},
		},
		Zones: zones,
	}
}
