package metrics

import (
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
		Sensor: sensor.EBPF, Probes: []sensor.Probe{{Name: "sched_switch"}}, Self: used,
		Agents: map[string]observe.Agent{"a": {Name: "a", Cgroup: "/cam.slice/cam-a.scope", State: observe.Running}},
		Accounts: []ledger.Account{
			{Name: "a", Kind: ledger.KindAgent, Total: used}, {Name: "b", Kind: ledger.KindAgent, Total: used},
			{Name: ledger.Retired, Kind: ledger.KindRetired, Total: used}, {Name: ledger.System, Kind: ledger.KindSystem, Total: used},
			{Name: ledger.Idle, Kind: ledger.KindIdle, Total: used}, {Name: ledger.Unattributed, Kind: ledger.KindUnattributed, Total: used},
		},
		Zones: []ledger.ZoneAccount{{Reading: energy.Reading{Zone: zone}}, {Reading: energy.Reading{Zone: other}}},
	}
	reg := prometheus.NewPedanticRegistry()
	gauge := Gauge{Name: "cam_store_commits_total", Help: "Commits.", Counter: true, Value: func() float64 { return 1 }}
	if err := reg.Register(NewCollector(func() *observe.Observation { return o }, gauge)); err != nil {
		t.Fatal(err)
	}
	got, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(families)+1 {
		t.Errorf("%d of %d families have samples", len(got), len(families)+1)
	}
}
