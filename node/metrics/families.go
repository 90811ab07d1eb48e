package metrics

import (
	"time"

	"github.com/cam-os/edge/ebpf/histogram"
)

type family struct {
	name, help string
	labels     []string
}

// families are all that an observation gives. Names of what other exporters
// show too are theirs: cAdvisor's (cpu_cfs_throttled, memory_working_set,
// network_receive) and the kernel's words for the rest.
var families = []family{
	{"cam_agent_cpu_seconds_total", "Time that processes of the agent ran on a CPU.", []string{"agent", "source"}},
	{"cam_agent_cpu_cycles_total", "Processor cycles of the agent.", []string{"agent", "source"}},
	{"cam_agent_cpu_instructions_total", "Instructions that the agent's processes retired.", []string{"agent", "source"}},
	{"cam_agent_context_switches_total", "Times that a task of the agent was switched out.", []string{"agent", "source"}},
	{"cam_agent_run_queue_wait_seconds", "How long tasks of the agent were ready to run before they ran.", []string{"agent", "source"}},
	{"cam_agent_cpu_cfs_throttled_seconds_total", "Time that cpu.max kept the agent off its CPUs.", []string{"agent"}},
	{"cam_agent_cpu_cfs_throttled_periods_total", "Periods of cpu.max in which the agent was throttled.", []string{"agent"}},
	{"cam_agent_pressure_seconds_total", "Time in which some task of the agent waited for the resource, or all did (full, contained in some).", []string{"agent", "resource", "kind"}},
	{"cam_agent_io_bytes_total", "Bytes that the agent fetched from (read) or sent to (write) the storage layer.", []string{"agent", "direction", "source"}},
	{"cam_agent_block_bytes_total", "Bytes of the agent's that reached the disk, or came from it.", []string{"agent", "device", "operation"}},
	{"cam_agent_block_operations_total", "Requests of the agent's that the disk completed.", []string{"agent", "device", "operation"}},
	{"cam_agent_block_latency_seconds", "How long the disk took for a request of the agent's.", []string{"agent", "device", "operation"}},
	{"cam_agent_memory_usage_bytes", "Memory that the agent holds, page cache included.", []string{"agent"}},
	{"cam_agent_memory_working_set_bytes", "Memory that the agent holds, less inactive file pages, as the kubelet has it.", []string{"agent"}},
	{"cam_agent_memory_swap_bytes", "Swap that the agent holds.", []string{"agent"}},
	{"cam_agent_memory_limit_bytes", "memory.max of the agent; absent without one.", []string{"agent"}},
	{"cam_agent_memory_max_usage_bytes", "The most memory that the agent held since its cgroup was made; absent where the kernel does not say (before 5.19).", []string{"agent"}},
	{"cam_agent_memory_reclaimed_bytes_total", "Memory that the kernel took back from the agent.", []string{"agent"}},
	{"cam_agent_memory_events_total", "Times that the agent met memory.high or memory.max, or stalled for memory (pressure: 15% of a window).", []string{"agent", "event"}},
	{"cam_agent_oom_kills_total", "Processes of the agent that were killed for want of memory.", []string{"agent"}},
	{"cam_agent_network_receive_bytes_total", "IP packets that the agent's sockets received, loopback too: bytes.", []string{"agent"}},
	{"cam_agent_network_transmit_bytes_total", "IP packets that the agent's sockets sent, loopback too: bytes.", []string{"agent"}},
	{"cam_agent_network_receive_packets_total", "IP packets that the agent's sockets received, loopback too.", []string{"agent"}},
	{"cam_agent_network_transmit_packets_total", "IP packets that the agent's sockets sent, loopback too.", []string{"agent"}},
	{"cam_agent_network_refused_connections_total", "TCP connections of the agent's that were answered with a reset.", []string{"agent"}},
	{"cam_agent_moves_total", "Tasks that somebody moved out of the agent's cgroups (out: an escape), or into them.", []string{"agent", "direction"}},
	{"cam_agent_energy_joules_total", "Energy charged to the agent, by zone. Zones overlap: never sum them.", []string{"agent", "zone", "source"}},
	{"cam_agent_running", "1 while the agent's cgroup holds processes.", []string{"agent"}},
	{"cam_agent_info", "The agent's cgroup below the cgroup2 root.", []string{"agent", "cgroup"}},
	{"cam_retired_cpu_seconds_total", "CPU time of ended agents whose accounts were folded into one.", []string{"source"}},
	{"cam_retired_energy_joules_total", "Energy of ended agents whose accounts were folded into one.", []string{"zone", "source"}},
	{"cam_system_cpu_seconds_total", "CPU time of everything that is no agent.", []string{"source"}},
	{"cam_system_io_bytes_total", "Storage bytes of everything that is no agent.", []string{"direction", "source"}},
	{"cam_system_block_bytes_total", "Bytes that reached or left the disk for everything that is no agent.", []string{"device", "operation"}},
	{"cam_unattributed_cpu_seconds_total", "CPU time measured while the sensor had no room to name its cgroup.", []string{"source"}},
	{"cam_unattributed_block_bytes_total", "Bytes that reached or left the disk and may be an agent's: its cgroup lacks the io controller.", []string{"device", "operation"}},
	{"cam_node_energy_joules_total", "Energy metered, by zone. Zones overlap: never sum them.", []string{"zone", "source"}},
	{"cam_node_agents_energy_joules_total", "Energy charged to all agents together, folded ones included.", []string{"zone", "source"}},
	{"cam_node_idle_energy_joules_total", "Energy that a quiet machine draws anyway.", []string{"zone", "source"}},
	{"cam_node_system_energy_joules_total", "Energy charged to everything that is no agent.", []string{"zone", "source"}},
	{"cam_node_unattributed_energy_joules_total", "Energy metered that cannot be charged to anybody.", []string{"zone", "source"}},
	{"cam_node_energy_residual_joules", "Metered minus agents, system, idle and unattributed: always 0.", []string{"zone", "source"}},
	{"cam_node_idle_power_watts", "Learned or configured power of a quiet zone.", []string{"zone", "source"}},
	{"cam_node_power_watts", "Mean power over the latest interval.", []string{"zone", "source"}},
	{"cam_energy_reading_age_seconds", "Time since the zone's counter last moved.", []string{"zone", "socket", "source"}},
	{"cam_energy_relative_error_ratio", "Relative standard uncertainty of the zone's readings, 0 when not known.", []string{"zone", "socket", "source"}},
	{"cam_energy_zone_info", "By what the zone's energy is divided: cpu_time, cycles, or none (it is unattributed).", []string{"zone", "socket", "source", "weighing"}},
	{"cam_energy_wraps_total", "Counter wraps seen and corrected.", []string{"zone", "socket", "source"}},
	{"cam_energy_resets_total", "Times that a counter went back and it was no wrap.", []string{"zone", "socket", "source"}},
	{"cam_energy_reading_faults_total", "Readings that failed or were refused as implausible.", []string{"zone", "socket", "source"}},
	{"cam_observation_time_seconds", "When the figures were measured, Unix time.", nil},
	{"cam_observation_interval_seconds", "Length of the latest interval.", nil},
	{"cam_sensor_info", "Where CPU and I/O figures come from.", []string{"source"}},
	{"cam_missing_capabilities", "How many things this node cannot measure; camctl doctor names them.", nil},
	{"cam_probe_runs_total", "Runs of a kernel program; 0 while kernel.bpf_stats_enabled is off.", []string{"program"}},
	{"cam_probe_run_seconds_total", "Time in a kernel program; 0 while kernel.bpf_stats_enabled is off.", []string{"program"}},
	{"cam_node_self_cpu_seconds_total", "CPU time of the node itself, contained in system.", nil},
	{"cam_node_self_energy_joules_total", "Estimated energy of the node itself, contained in system.", []string{"zone", "source"}},
}

// ladder is which of a histogram's bounds are shown: powers of four, since each
// bucket is a series of every agent.
type ladder struct{ first, step int }

var (
	// runQueueLadder: 4 µs to 16.8 s in 12 steps.
	runQueueLadder = ladder{first: 2, step: 2}
	// latencyLadder: 16 µs to 16.8 s in 11 steps; no disk is faster.
	latencyLadder = ladder{first: 4, step: 2}
)

// buckets are h's cumulative counts by upper bound in seconds. Prometheus
// includes the bound and the kernel's programs exclude it: with times in whole
// nanoseconds none but an exact power of two differs.
func (l ladder) buckets(h histogram.Log2) map[float64]uint64 {
	out := make(map[float64]uint64)
	var n uint64
	for i, c := range h.Counts {
		n += c
		if bound := histogram.Bound(i); i >= l.first && (i-l.first)%l.step == 0 && bound > 0 {
			out[seconds(bound)] = n
		}
	}
	return out
}

func seconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e9 }
