package metrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/cam-os/edge/ebpf/block"
	"github.com/cam-os/edge/ebpf/histogram"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// The endpoint's registry does not compare each sample with its description;
// this does. What is not measured has no series.
func TestEverySampleIsAsDescribed(t *testing.T) {
	got := gather(t, everything(1))
	if len(got) != len(families)+1 {
		for _, f := range families {
			if got[f.name] == nil {
				t.Errorf("%s has no sample", f.name)
			}
		}
	}
	agents := func(names string) (out []string) {
		for n := range strings.FieldsSeq(names) {
			out = append(out, "cam_agent_"+n)
		}
		return out
	}
	controllers := agents("cpu_cfs_throttled_periods_total cpu_cfs_throttled_seconds_total memory_events_total memory_limit_bytes " +
		"memory_max_usage_bytes memory_reclaimed_bytes_total memory_swap_bytes memory_usage_bytes memory_working_set_bytes oom_kills_total pressure_seconds_total")
	disks := append(agents("block_bytes_total block_latency_seconds block_operations_total"), "cam_system_block_bytes_total", "cam_unattributed_block_bytes_total")
	for name, c := range map[string]struct {
		change  func(*observe.Observation)
		without []string
	}{
		"no switches": {func(o *observe.Observation) { o.Measures.Switches = false }, agents("context_switches_total")},
		"no I/O":      {func(o *observe.Observation) { o.Measures.IO = false }, append(agents("io_bytes_total"), "cam_system_io_bytes_total")},
		"no waits":    {func(o *observe.Observation) { o.Measures.Waits = false }, agents("run_queue_wait_seconds")},
		"no moves":    {func(o *observe.Observation) { o.Measures.Moves = false }, agents("moves_total")},
		"no cycles":   {func(o *observe.Observation) { o.Measures.Cycles = false }, agents("cpu_cycles_total cpu_instructions_total")},
		"no disks":    {func(o *observe.Observation) { o.Further.Block = false }, disks},
		"no network": {func(o *observe.Observation) { o.Further.Network = false }, agents("network_receive_bytes_total network_receive_packets_total " +
			"network_refused_connections_total network_transmit_bytes_total network_transmit_packets_total")},
		"no controllers": {func(o *observe.Observation) { o.Further.Controllers = false }, controllers},
		"no controllers for these agents": {func(o *observe.Observation) {
			for i := range o.Accounts {
				o.Accounts[i].Total.Counters = ledger.Counters{}
			}
			for name := range o.Agents {
				o.Agents[name] = observe.Agent{Name: name}
			}
		}, controllers},
		"one account": {func(o *observe.Observation) { o.Measures, o.Further = sensor.Measures{}, observe.Further{} }, slices.Concat(
			controllers, disks, []string{"cam_system_io_bytes_total"}, agents("context_switches_total cpu_seconds_total energy_joules_total io_bytes_total "+
				"run_queue_wait_seconds moves_total cpu_cycles_total cpu_instructions_total network_receive_bytes_total network_receive_packets_total "+
				"network_refused_connections_total network_transmit_bytes_total network_transmit_packets_total"))},
		"agents that have ended": {func(o *observe.Observation) {
			for name := range o.Agents {
				o.Agents[name] = observe.Agent{Name: name, State: observe.Ended}
			}
		}, agents("block_latency_seconds run_queue_wait_seconds memory_limit_bytes memory_max_usage_bytes memory_swap_bytes memory_usage_bytes memory_working_set_bytes")},
	} {
		o := everything(1)
		c.change(o)
		some := gather(t, o)
		var without []string
		for _, f := range slices.Sorted(maps.Keys(got)) {
			if some[f] == nil {
				without = append(without, f)
			}
		}
		if want := slices.Sorted(slices.Values(c.without)); !slices.Equal(without, want) {
			t.Errorf("%s: without %q,\nwant %q", name, without, want)
		}
	}
}

// Two sensors have a program of one name: it is one series.
func TestProbesOfOneName(t *testing.T) {
	o := everything(1)
	o.Probes = []sensor.Probe{{Name: "cgroup_rmdir", Runs: 2}, {Name: "cgroup_rmdir", Runs: 3}}
	f := gather(t, o)["cam_probe_runs_total"].GetMetric()
	if len(f) != 1 || f[0].GetCounter().GetValue() != 5 {
		t.Errorf("got %v", f)
	}
}

// docs/metrics.md states these numbers.
func TestSeriesOfAnAgentAreBounded(t *testing.T) {
	count := func(o *observe.Observation) (n int) {
		for _, f := range gather(t, o) {
			for _, m := range f.GetMetric() {
				if !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == "agent" && l.GetValue() == "a" }) {
					continue
				}
				if h := m.GetHistogram(); h != nil {
					n += len(h.GetBucket()) + 3 // +Inf, sum, count
				} else {
					n++
				}
			}
		}
		return n
	}
	o := everything(1)
	const fixed, each = 49, 16
	if got, want := count(o), fixed+3*each; got != want {
		t.Errorf("%d series with three of disk and operation, want %d", got, want)
	}
	used := &o.Accounts[0].Total
	used.Block = make(map[ledger.BlockKey]block.Usage)
	for i := range 100 {
		for op := block.Read; op <= block.Other; op++ {
			used.Block[ledger.BlockKey{Device: fmt.Sprintf("sd%03d", i), Op: op}] = block.Usage{Bytes: 1, Operations: 1}
		}
	}
	if got, most := count(o), fixed+(maxDisks+1)*5*each; got != most {
		t.Errorf("%d series with 100 disks, want %d", got, most)
	}
	c := NewCollector(func() *observe.Observation { return o })
	s := sink{c: c}
	var bytes uint64
	for _, b := range s.blocks(*used) {
		bytes += b.Bytes
	}
	if bytes != 500 {
		t.Errorf("the disks that share a name have %d bytes in all, want 500", bytes)
	}
	if got := c.disks.name(""); got != "unknown" {
		t.Errorf("without a name: %q", got)
	}
}

func TestHistogramsAreCumulative(t *testing.T) {
	var h histogram.Log2
	h.Counts[0], h.Counts[3], h.Counts[histogram.Buckets-1] = 5, 7, 11 // below 1 µs, 4 to 8 µs, above 16 s
	h.Sum = time.Minute
	got := runQueueLadder.buckets(h)
	if len(got) != 12 || got[4e-6] != 5 || got[16e-6] != 12 || got[16.777216] != 12 {
		t.Errorf("run queue: %v", got)
	}
	if got := latencyLadder.buckets(h); len(got) != 11 || got[16e-6] != 12 {
		t.Errorf("latency: %v", got)
	}
	for _, f := range gather(t, everything(2)) {
		for _, m := range f.GetMetric() {
			hist := m.GetHistogram()
			for i, b := range hist.GetBucket() {
				if i > 0 && b.GetCumulativeCount() < hist.GetBucket()[i-1].GetCumulativeCount() || b.GetCumulativeCount() > hist.GetSampleCount() {
					t.Errorf("%s: %v", f.GetName(), hist)
				}
			}
		}
	}
}

// gather returns the families that have samples.
func gather(t *testing.T, o *observe.Observation) map[string]*dto.MetricFamily {
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
	out := make(map[string]*dto.MetricFamily)
	for _, f := range got {
		out[f.GetName()] = f
	}
	return out
}
