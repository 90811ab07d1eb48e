package metrics

import (
	"cmp"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cam-os/edge/ebpf/histogram"
	"github.com/cam-os/edge/ebpf/sensor"
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
	disks  disks
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

func (s sink) histogram(name string, l ladder, h histogram.Log2, labels ...string) {
	s.ch <- prometheus.MustNewConstHistogram(s.c.descs[name], h.Count(), seconds(h.Sum), l.buckets(h), labels...)
}

func (s sink) observation(o *observe.Observation) {
	s.gauge("cam_observation_time_seconds", float64(o.Time.UnixMilli())/1e3)
	s.gauge("cam_observation_interval_seconds", o.Interval.Seconds())
	s.gauge("cam_sensor_info", 1, string(o.Sensor))
	s.gauge("cam_missing_capabilities", float64(len(o.Missing)))
	for name, p := range probes(o.Probes) {
		s.counter("cam_probe_runs_total", float64(p.Runs), name)
		s.counter("cam_probe_run_seconds_total", p.Time.Seconds(), name)
	}
	s.counter("cam_node_self_cpu_seconds_total", o.Self.CPU.Seconds())
	s.energy("cam_node_self_energy_joules_total", o.Self)
}

// probes sums those of one name: several sensors have a program on one hook,
// and a series that is there twice would cost the whole page.
func probes(list []sensor.Probe) map[string]sensor.Probe {
	sums := make(map[string]sensor.Probe, len(list))
	for _, p := range list {
		sum := sums[p.Name]
		sum.Runs += p.Runs
		sum.Time += p.Time
		sums[p.Name] = sum
	}
	return sums
}

func (s sink) account(a ledger.Account, o *observe.Observation) {
	source, u := string(o.Sensor), a.Total
	switch a.Kind {
	case ledger.KindAgent:
		s.agent(a, o)
	case ledger.KindRetired:
		s.counter("cam_retired_cpu_seconds_total", u.CPU.Seconds(), source)
		s.energy("cam_retired_energy_joules_total", u)
	case ledger.KindSystem:
		s.counter("cam_system_cpu_seconds_total", u.CPU.Seconds(), source)
		if o.Measures.IO {
			s.counter("cam_system_io_bytes_total", float64(u.Read), "read", source)
			s.counter("cam_system_io_bytes_total", float64(u.Written), "write", source)
		}
		if o.Further.Block {
			s.blockBytes("cam_system_block_bytes_total", u)
		}
	case ledger.KindUnattributed:
		s.counter("cam_unattributed_cpu_seconds_total", u.CPU.Seconds(), source)
		if o.Further.Block {
			s.blockBytes("cam_unattributed_block_bytes_total", u)
		}
	}
}

func (s sink) blockBytes(name string, u ledger.Usage) {
	for k, b := range s.blocks(u) {
		s.counter(name, float64(b.Bytes), k.Device, k.Op.String())
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
		s.gauge("cam_energy_zone_info", 1, zone, socket, source, string(cmp.Or(z.Reading.Weighing, energy.CPUTime)))
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
