package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// Gauge is a figure of the node's other rooms, read at each scrape.
type Gauge struct {
	Name, Help string
	// Counter says that it only grows; its name ends in _total.
	Counter bool
	Value   func() float64
}

// Collector renders the latest observation. It changes nothing in it: any
// number of scrapers see the same figures.
type Collector struct {
	latest func() *observe.Observation
	gauges []Gauge
	descs  map[string]*prometheus.Desc
}

type family struct {
	name, help string
	labels     []string
}

var families = []family{
	{"cam_agent_cpu_seconds_total", "Time that processes of the agent ran on a CPU.", []string{"agent", "source"}},
	{"cam_agent_context_switches_total", "Times that a task of the agent was switched out.", []string{"agent", "source"}},
	{"cam_agent_io_bytes_total", "Bytes that the agent fetched from (read) or sent to (write) the storage layer.", []string{"agent", "direction", "source"}},
	{"cam_agent_energy_joules_total", "Energy charged to the agent, by zone. Zones overlap: never sum them.", []string{"agent", "zone", "source"}},
	{"cam_agent_running", "1 while the agent's cgroup holds processes.", []string{"agent"}},
	{"cam_agent_info", "The agent's cgroup below the cgroup2 root.", []string{"agent", "cgroup"}},
	{"cam_retired_cpu_seconds_total", "CPU time of ended agents whose accounts were folded into one.", []string{"source"}},
	{"cam_retired_energy_joules_total", "Energy of ended agents whose accounts were folded into one.", []string{"zone", "source"}},
	{"cam_system_cpu_seconds_total", "CPU time of everything that is no agent.", []string{"source"}},
	{"cam_system_io_bytes_total", "Storage bytes of everything that is no agent.", []string{"direction", "source"}},
	{"cam_unattributed_cpu_seconds_total", "CPU time measured while the sensor had no room to name its cgroup.", []string{"source"}},
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

// NewCollector renders what latest returns; nil before the first interval.
func NewCollector(latest func() *observe.Observation, gauges ...Gauge) *Collector {
	c := &Collector{latest: latest, gauges: gauges, descs: make(map[string]*prometheus.Desc)}
	for _, f := range families {
		c.descs[f.name] = prometheus.NewDesc(f.name, f.help, f.labels, nil)
	}
	for _, g := range gauges {
		c.descs[g.Name] = prometheus.NewDesc(g.Name, g.Help, nil, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := sink{c: c, ch: ch}
	for _, g := range c.gauges {
		if g.Counter {
			s.counter(g.Name, g.Value())
		} else {
			s.gauge(g.Name, g.Value())
		}
	}
	o := c.latest()
	if o == nil {
		return
	}
	s.observation(o)
	for _, a := range o.Accounts {
		s.account(a, o)
	}
	s.zones(o.Zones)
}

type sink struct {
	c  *Collector
	ch chan<- prometheus.Metric
}

func (s sink) counter(name string, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(s.c.descs[name], prometheus.CounterValue, v, labels...)
}

func (s sink) gauge(name string, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(s.c.descs[name], prometheus.GaugeValue, v, labels...)
}

func (s sink) observation(o *observe.Observation) {
	s.gauge("cam_observation_time_seconds", float64(o.Time.UnixMilli())/1e3)
	s.gauge("cam_observation_interval_seconds", o.Interval.Seconds())
	s.gauge("cam_sensor_info", 1, string(o.Sensor))
	s.gauge("cam_missing_capabilities", float64(len(o.Missing)))
	for _, p := range o.Probes {
		s.counter("cam_probe_runs_total", float64(p.Runs), p.Name)
		s.counter("cam_probe_run_seconds_total", p.Time.Seconds(), p.Name)
	}
	s.counter("cam_node_self_cpu_seconds_total", o.Self.CPU.Seconds())
	s.energy("cam_node_self_energy_joules_total", o.Self)
}

func (s sink) account(a ledger.Account, o *observe.Observation) {
	source, u := string(o.Sensor), a.Total
	switch a.Kind {
	case ledger.KindAgent:
		// A series that stands still would say that nothing was used.
		if o.Measures.Agents {
			s.counter("cam_agent_cpu_seconds_total", u.CPU.Seconds(), a.Name, source)
			s.energy("cam_agent_energy_joules_total", u, a.Name)
		}
		if o.Measures.Agents && o.Measures.Switches {
			s.counter("cam_agent_context_switches_total", float64(u.Switches), a.Name, source)
		}
		if o.Measures.Agents && o.Measures.IO {
			s.counter("cam_agent_io_bytes_total", float64(u.Read), a.Name, "read", source)
			s.counter("cam_agent_io_bytes_total", float64(u.Written), a.Name, "write", source)
		}
		agent := o.Agents[a.Name]
		running := 0.0
		if agent.State == observe.Running && agent.Name != "" {
			running = 1
		}
		s.gauge("cam_agent_running", running, a.Name)
		s.gauge("cam_agent_info", 1, a.Name, agent.Cgroup)
	case ledger.KindRetired:
		s.counter("cam_retired_cpu_seconds_total", u.CPU.Seconds(), source)
		s.energy("cam_retired_energy_joules_total", u)
	case ledger.KindSystem:
		s.counter("cam_system_cpu_seconds_total", u.CPU.Seconds(), source)
		if o.Measures.IO {
			s.counter("cam_system_io_bytes_total", float64(u.Read), "read", source)
			s.counter("cam_system_io_bytes_total", float64(u.Written), "write", source)
		}
	case ledger.KindUnattributed:
		s.counter("cam_unattributed_cpu_seconds_total", u.CPU.Seconds(), source)
	}
}

// energy sums sockets of one zone name and source: these do not overlap.
func (s sink) energy(name string, u ledger.Usage, labels ...string) {
	sums := make(map[[2]string]energy.Microjoules)
	for z, e := range u.Energy {
		sums[[2]string{z.Name, string(z.Source)}] += e
	}
	for k, e := range sums {
		s.counter(name, e.Joules(), append(append([]string(nil), labels...), k[0], k[1])...)
	}
}

func (s sink) zones(zones []ledger.ZoneAccount) {
	type sum struct {
		metered, agents, idle, system, unattributed energy.Microjoules
		residual                                    int64
		power, idlePower                            energy.Microwatts
	}
	sums := make(map[[2]string]*sum)
	for _, z := range zones {
		zone, source, socket := z.Reading.Zone.Name, string(z.Reading.Zone.Source), strconv.Itoa(z.Reading.Zone.Socket)
		k := [2]string{zone, source}
		t := sums[k]
		if t == nil {
			t = &sum{}
			sums[k] = t
		}
		t.metered += z.Metered
		t.agents += z.Agents
		t.idle += z.Idle
		t.system += z.System
		t.unattributed += z.Unattributed
		t.residual += z.Residual()
		t.power += z.Power
		t.idlePower += z.IdlePower
		s.gauge("cam_energy_reading_age_seconds", z.Reading.Age.Round(time.Millisecond).Seconds(), zone, socket, source)
		s.gauge("cam_energy_relative_error_ratio", z.Reading.Error, zone, socket, source)
		s.counter("cam_energy_wraps_total", float64(z.Reading.Wraps), zone, socket, source)
		s.counter("cam_energy_resets_total", float64(z.Reading.Resets), zone, socket, source)
		s.counter("cam_energy_reading_faults_total", float64(z.Reading.Faults), zone, socket, source)
	}
	for k, t := range sums {
		s.counter("cam_node_energy_joules_total", t.metered.Joules(), k[0], k[1])
		s.counter("cam_node_agents_energy_joules_total", t.agents.Joules(), k[0], k[1])
		s.counter("cam_node_idle_energy_joules_total", t.idle.Joules(), k[0], k[1])
		s.counter("cam_node_system_energy_joules_total", t.system.Joules(), k[0], k[1])
		s.counter("cam_node_unattributed_energy_joules_total", t.unattributed.Joules(), k[0], k[1])
		s.gauge("cam_node_energy_residual_joules", float64(t.residual)/1e6, k[0], k[1])
		s.gauge("cam_node_power_watts", t.power.Watts(), k[0], k[1])
		s.gauge("cam_node_idle_power_watts", t.idlePower.Watts(), k[0], k[1])
	}
}
