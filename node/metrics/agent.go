package metrics

import (
	"slices"
	"sync"
	"time"

	"github.com/cam-os/edge/ebpf/block"
	"github.com/cam-os/edge/ebpf/cgroupfs"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// agent shows one agent. What nobody counts has no series: one that stands
// still would say that nothing was used.
func (s sink) agent(a ledger.Account, o *observe.Observation) {
	source, u, m := string(o.Sensor), a.Total, o.Measures
	agent := o.Agents[a.Name]
	running := 0.0
	if agent.State == observe.Running && agent.Name != "" {
		running = 1
	}
	s.gauge("cam_agent_running", running, a.Name)
	s.gauge("cam_agent_info", 1, a.Name, agent.Cgroup)
	if m.Agents {
		s.counter("cam_agent_cpu_seconds_total", u.CPU.Seconds(), a.Name, source)
		s.energy("cam_agent_energy_joules_total", u, a.Name)
	}
	if m.Agents && m.Switches {
		s.counter("cam_agent_context_switches_total", float64(u.Switches), a.Name, source)
	}
	if m.Agents && m.IO {
		s.counter("cam_agent_io_bytes_total", float64(u.Read), a.Name, "read", source)
		s.counter("cam_agent_io_bytes_total", float64(u.Written), a.Name, "write", source)
	}
	if m.Agents && m.Cycles {
		s.counter("cam_agent_cpu_cycles_total", float64(u.Counters[ledger.Cycles]), a.Name, source)
		s.counter("cam_agent_cpu_instructions_total", float64(u.Counters[ledger.Instructions]), a.Name, source)
	}
	if m.Agents && m.Moves {
		s.counter("cam_agent_moves_total", float64(u.Counters[ledger.MovedOut]), a.Name, "out")
		s.counter("cam_agent_moves_total", float64(u.Counters[ledger.MovedIn]), a.Name, "in")
	}
	// Nothing comes to the distributions of an agent that has ended, and they
	// have the most series.
	alive := agent.Name != "" && (agent.State == observe.Running || agent.State == observe.Empty)
	if m.Agents && m.Waits && alive {
		s.histogram("cam_agent_run_queue_wait_seconds", runQueueLadder, u.Wait, a.Name, source)
	}
	if o.Further.Block {
		for k, b := range s.blocks(u) {
			s.counter("cam_agent_block_bytes_total", float64(b.Bytes), a.Name, k.Device, k.Op.String())
			s.counter("cam_agent_block_operations_total", float64(b.Operations), a.Name, k.Device, k.Op.String())
			if alive {
				s.histogram("cam_agent_block_latency_seconds", latencyLadder, b.Latency, a.Name, k.Device, k.Op.String())
			}
		}
	}
	if o.Further.Network {
		s.network(a.Name, u.Counters)
	}
	if o.Further.Controllers {
		s.controllers(a.Name, u.Counters, agent)
	}
}

func (s sink) network(name string, c ledger.Counters) {
	for metric, counter := range map[string]ledger.Counter{
		"cam_agent_network_receive_bytes_total":       ledger.ReceivedBytes,
		"cam_agent_network_transmit_bytes_total":      ledger.SentBytes,
		"cam_agent_network_receive_packets_total":     ledger.ReceivedPackets,
		"cam_agent_network_transmit_packets_total":    ledger.SentPackets,
		"cam_agent_network_refused_connections_total": ledger.RefusedConnections,
	} {
		s.counter(metric, float64(c[counter]), name)
	}
}

// controllers shows what is counted for this agent now, and what was counted
// when it was.
func (s sink) controllers(name string, c ledger.Counters, agent observe.Agent) {
	counted := func(now bool, first, last ledger.Counter) bool {
		return now || slices.ContainsFunc(c[first:last+1], func(v uint64) bool { return v != 0 })
	}
	time := func(i ledger.Counter) float64 { return seconds(time.Duration(min(c[i], 1<<63-1))) } // #nosec G115 -- capped
	if counted(agent.Parts.Throttle, ledger.ThrottledTime, ledger.ThrottledPeriods) {
		s.counter("cam_agent_cpu_cfs_throttled_seconds_total", time(ledger.ThrottledTime), name)
		s.counter("cam_agent_cpu_cfs_throttled_periods_total", float64(c[ledger.ThrottledPeriods]), name)
	}
	if counted(agent.Parts.Pressure, ledger.CPUStall, ledger.MemoryFullStall) {
		for i, resource := range []string{"cpu", "io", "memory"} {
			some := ledger.CPUStall + ledger.Counter(2*i) // #nosec G115 -- below six
			s.counter("cam_agent_pressure_seconds_total", time(some), name, resource, "some")
			s.counter("cam_agent_pressure_seconds_total", time(some+1), name, resource, "full")
		}
	}
	if agent.Memory != nil {
		s.memory(name, *agent.Memory)
	}
	if counted(agent.Memory != nil, ledger.Reclaimed, ledger.MemoryPressureEvents) {
		s.counter("cam_agent_memory_reclaimed_bytes_total", float64(c[ledger.Reclaimed]), name)
		s.counter("cam_agent_memory_events_total", float64(c[ledger.MemoryAtHigh]), name, "high")
		s.counter("cam_agent_memory_events_total", float64(c[ledger.MemoryAtMax]), name, "max")
		s.counter("cam_agent_memory_events_total", float64(c[ledger.MemoryPressureEvents]), name, "pressure")
		s.counter("cam_agent_oom_kills_total", float64(c[ledger.OOMKills]), name)
	}
}

func (s sink) memory(name string, m cgroupfs.Memory) {
	s.gauge("cam_agent_memory_usage_bytes", float64(m.Current), name)
	s.gauge("cam_agent_memory_working_set_bytes", float64(m.WorkingSet), name)
	s.gauge("cam_agent_memory_swap_bytes", float64(m.Swap), name)
	if m.Max > 0 {
		s.gauge("cam_agent_memory_limit_bytes", float64(m.Max), name)
	}
	if m.Peak > 0 {
		s.gauge("cam_agent_memory_max_usage_bytes", float64(m.Peak), name)
	}
}

// blocks is what an account did to disks, under the names that they have here.
func (s sink) blocks(u ledger.Usage) map[ledger.BlockKey]block.Usage {
	out := make(map[ledger.BlockKey]block.Usage, len(u.Block))
	for k, b := range u.Block {
		k.Device = s.c.disks.name(k.Device)
		sum := out[k]
		sum.Bytes += b.Bytes
		sum.Operations += b.Operations
		sum.Latency.Add(b.Latency)
		out[k] = sum
	}
	return out
}

// maxDisks bounds the values of label device, since disks come and go (USB
// sticks, loop-mounted images, hot-plugged volumes) and accounts remember all.
const maxDisks = 16

// disks names the first maxDisks disks that were seen, so that no series
// changes its meaning; further ones share the name other.
type disks struct {
	mu    sync.Mutex
	named map[string]bool
}

func (d *disks) name(device string) string {
	if device == "" {
		return "unknown" // the sensor had no room to tell
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.named[device] {
		if len(d.named) >= maxDisks {
			return "other"
		}
		if d.named == nil {
			d.named = make(map[string]bool)
		}
		d.named[device] = true
	}
	return device
}
