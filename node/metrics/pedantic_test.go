package metrics

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// The endpoint's registry does not compare each sample with its description;
// this does.
func TestEverySampleIsAsDescribed(t *testing.T) {
	zone := energy.Zone{Name: energy.Package, Source: energy.Simulated}
	other := energy.Zone{Name: energy.Package, Socket: 1, Source: energy.Simulated}
	used := ledger.Usage{CPU: time.Second, Switches: 2, Read: 3, Written: 4, Energy: map[energy.Zone]energy.Microjoules{zone: 5, other: 6}}
	o := &observe.Observation{
		Sensor: sensor.EBPF, Measures: sensor.Measures{Agents: true, Switches: true, IO: true}, Probes: []sensor.Probe{{Name: "sched_switch"}}, Self: used,
		Agents: map[string]observe.Agent{"a": {Name: "a", Cgroup: "/cam.slice/cam-a.scope", State: observe.Running}},
		Accounts: []ledger.Account{
			{Name: "a", Kind: ledger.KindAgent, Total: used}, {Name: "b", Kind: ledger.KindAgent, Total: used},
			{Name: ledger.Retired, Kind: ledger.KindRetired, Total: used}, {Name: ledger.System, Kind: ledger.KindSystem, Total: used},
			{Name: ledger.Idle, Kind: ledger.KindIdle, Total: used}, {Name: ledger.Unattributed, Kind: ledger.KindUnattributed, Total: used},
		},
		Zones: []ledger.ZoneAccount{{Reading: energy.Reading{Zone: zone}}, {Reading: energy.Reading{Zone: other}}},
	}
	got := gather(t, o)
	if len(got) != len(families)+1 {
		t.Errorf("%d of %d families have samples", len(got), len(families)+1)
	}
	for name, c := range map[string]struct {
		measures sensor.Measures
		without  []string
	}{
		"no switches": {sensor.Measures{Agents: true, IO: true}, []string{"cam_agent_context_switches_total"}},
		"no I/O":      {sensor.Measures{Agents: true, Switches: true}, []string{"cam_agent_io_bytes_total", "cam_system_io_bytes_total"}},
		"one account": {sensor.Measures{}, []string{"cam_agent_context_switches_total", "cam_agent_cpu_seconds_total",
			"cam_agent_energy_joules_total", "cam_agent_io_bytes_total", "cam_system_io_bytes_total"}},
	} {
		o.Measures = c.measures
		some := gather(t, o)
		var without []string
		for _, f := range slices.Sorted(maps.Keys(got)) {
			if !some[f] {
				without = append(without, f)
			}
		}
		if !slices.Equal(without, c.without) {
			t.Errorf("%s: without %q, want %q", name, without, c.without)
		}
	}
}

// gather returns the families that have samples.
func gather(t *testing.T, o *observe.Observation) map[string]bool {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	gauge := Gauge{Name: "cam_store_commits_total", Help: "Commits.", Counter: true, Value: func() float64 { return 1 }}
	if err := reg.Register(NewCollector(func() *observe.Observation { return o }, gauge)); err != nil {
		t.Fatal(err)
	}
	got, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, f := range got {
		names[f.GetName()] = true
	}
	return names
}
