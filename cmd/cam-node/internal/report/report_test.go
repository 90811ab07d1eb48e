package report

import (
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cam-os/edge/cmd/cam-node/internal/text"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// twoSockets is what a node on a machine with two sockets sends.
func twoSockets() *camv1.Observation {
	energy := func(source string, first, second uint64) []*camv1.ZoneEnergy {
		return []*camv1.ZoneEnergy{
			{Zone: "core", Socket: 0, Microjoules: first / 2, Source: source},
			{Zone: "package", Socket: 0, Microjoules: first, Source: source},
			{Zone: "package", Socket: 1, Microjoules: second, Source: source},
		}
	}
	rapl := &camv1.Provenance{Source: "rapl", Quality: "measured", RelativeError: 0.05}
	return &camv1.Observation{
		Time: timestamppb.New(time.Date(2026, 7, 9, 23, 21, 0, 0, time.UTC)), BoottimeNanoseconds: 86400e9,
		IntervalNanoseconds: 2e9, Sequence: 42,
		Sensor: &camv1.Provenance{Source: "ebpf", Quality: "measured"},
		Accounts: []*camv1.Account{
			{Name: "agent-b", Kind: camv1.AccountKind_ACCOUNT_KIND_AGENT, State: camv1.AgentState_AGENT_STATE_RUNNING, Cgroup: "/cam.slice/agent-b",
				Total:    &camv1.Usage{CpuNanoseconds: 3723e9, ContextSwitches: 12, IoReadBytes: 1350e9, IoWrittenBytes: 2e6, Energy: energy("rapl", 60_000e6, 4_000e6)},
				Interval: &camv1.Usage{CpuNanoseconds: 3e9, IoReadBytes: 1350e6, Energy: energy("rapl", 20e6, 1e6)}},
			{Name: "asleep", Kind: camv1.AccountKind_ACCOUNT_KIND_AGENT, State: camv1.AgentState_AGENT_STATE_EMPTY, Total: &camv1.Usage{Energy: energy("rapl", 1, 0)}},
			{Name: "gone", Kind: camv1.AccountKind_ACCOUNT_KIND_AGENT, State: camv1.AgentState_AGENT_STATE_ENDED, Total: &camv1.Usage{CpuNanoseconds: 2e6}},
			{Name: "odd", Kind: camv1.AccountKind_ACCOUNT_KIND_AGENT},
			{Name: "retired", Kind: camv1.AccountKind_ACCOUNT_KIND_RETIRED},
			{Name: "system", Kind: camv1.AccountKind_ACCOUNT_KIND_SYSTEM, Total: &camv1.Usage{CpuNanoseconds: 90e9, Energy: energy("rapl", 500e6, 500e6)},
				Interval: &camv1.Usage{CpuNanoseconds: 2e8, Energy: energy("rapl", 1e6, 0)}},
			{Name: "idle", Kind: camv1.AccountKind_ACCOUNT_KIND_IDLE, Total: &camv1.Usage{Energy: energy("rapl", 7_000e6, 7_000e6)}, Interval: &camv1.Usage{Energy: energy("rapl", 12e6, 12e6)}},
			{Name: "unattributed", Kind: camv1.AccountKind_ACCOUNT_KIND_UNATTRIBUTED, Total: &camv1.Usage{Energy: energy("rapl", 0, 0)}},
			{Name: "future", Kind: 99},
		},
		Zones: []*camv1.Zone{
			{Zone: "core", Provenance: rapl, Microwatts: 5e6},
			{Zone: "package", Socket: 0, Provenance: rapl, Microwatts: 16_500_000, IdleMicrowatts: 6e6, MeteredMicrojoules: 67_500e6, AgentsMicrojoules: 60_000e6, SystemMicrojoules: 500e6, IdleMicrojoules: 7_000e6},
			{Zone: "package", Socket: 1, Provenance: &camv1.Provenance{Source: "rapl", Quality: "stale", AgeNanoseconds: 9e9, Note: "has not moved for 9 s"}, Microwatts: 6_500_000, IdleMicrowatts: 6e6, MeteredMicrojoules: 11_500e6, AgentsMicrojoules: 4_000e6, SystemMicrojoules: 500e6, IdleMicrojoules: 7_000e6, Wraps: 3},
		},
		Breakdown: []*camv1.CgroupUsage{
			{Cgroup: "/user.slice/evil\x1b]0;title\a", Interval: &camv1.Usage{CpuNanoseconds: 2e8, IoWrittenBytes: 8192, Energy: energy("rapl", 1e6, 0)}},
			{Cgroup: "/", Interval: &camv1.Usage{CpuNanoseconds: 1e5}},
		},
		Missing: []string{"dram: this processor does not meter it"},
		Coarse:  true,
		Probes:  []*camv1.Probe{{Name: "sched_switch", Runs: 7, RunNanoseconds: 700}},
		Self:    &camv1.Usage{CpuNanoseconds: 1e6},
	}
}

func TestAgentsTable(t *testing.T) {
	o := FromObservation(twoSockets())
	for name, width := range map[string]int{"agents.golden": 0, "agents-80.golden": 80, "agents-40.golden": 40} {
		var b strings.Builder
		style := Style{Charset: text.Unicode(), Width: width}
		if err := WriteAgents(&b, o, "package", style); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
		if err := WriteBreakdown(&b, o, "package", style); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.String())
		if strings.ContainsAny(b.String(), "\x1b\a") {
			t.Error("a name reached the terminal as it was")
		}
	}
}

func TestAgentsTableOfABareNode(t *testing.T) {
	var b strings.Builder
	if err := WriteAgents(&b, FromObservation(nil), "", Style{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"no agents yet: `camctl run", "not metered on this node", "unknown source"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
	b.Reset()
	if err := WriteBreakdown(&b, Observation{}, "", Style{}); err != nil || !strings.Contains(b.String(), "quiet") {
		t.Errorf("%v %s", err, b.String())
	}
}

// The JSON is a contract: names are stable, integers exact, lists never null.
func TestObservationJSON(t *testing.T) {
	raw, err := json.MarshalIndent(FromObservation(twoSockets()), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "observation.json", string(raw)+"\n")
	var back Observation
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	want := FromObservation(twoSockets())
	if d := cmp.Diff(want, back, cmpopts.IgnoreFields(Usage{}, "Lacking")); d != "" {
		t.Error(d)
	}
	raw, err = json.Marshal(FromObservation(nil))
	if err != nil || regexp.MustCompile(`"(accounts|zones|missing|probes|energy|moves)":null`).Match(raw) {
		t.Errorf("%s, %v", raw, err)
	}
	big := FromObservation(&camv1.Observation{Self: &camv1.Usage{CpuNanoseconds: math.MaxUint64}})
	if raw, _ := json.Marshal(big); !strings.Contains(string(raw), `"cpu_nanoseconds":18446744073709551615`) {
		t.Errorf("not exact: %s", raw)
	}
}

// What nobody counted is no zero, neither for people nor for programs.
func TestNotMeasuredIsNotZero(t *testing.T) {
	o := twoSockets()
	o.Measured = &camv1.Measured{}
	for _, a := range o.Accounts {
		if a.Name != "agent-b" { // which has figures of an earlier run
			a.Total, a.Interval = &camv1.Usage{}, &camv1.Usage{}
		}
	}
	o.Accounts[0].Interval = &camv1.Usage{}
	var b strings.Builder
	if err := WriteAgents(&b, FromObservation(o), "package", Style{Charset: text.Unicode()}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^agent-b +running +- +1h02m +- +- +1.35 TB +2.00 MB +- +64.0 kJ +rapl$`,
		`(?m)^gone +ended +- +- +- +- +- +- +- +-$`,
		`(?m)^system +0% +0s +- +- +- +- +0 W +0 J +rapl$`,
	} {
		if !regexp.MustCompile(want).MatchString(b.String()) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
	raw, err := json.Marshal(FromObservation(o))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"measured":{"agents":false,"context_switches":false,"io":false,"run_queue":false,"block":false,"controllers":false,"network":false,"moves":false,"cycles":false}`,
		`"interval":{"cpu_nanoseconds":null,"context_switches":null,"io_read_bytes":null,"io_written_bytes":null,"energy":null,"run_queue":null,"block":null,"throttle":null,"pressure":null,"memory":null,"network":null,"moved_out":null,"moved_in":null,"cycles":null,"instructions":null}`,
		`"cpu_nanoseconds":3723000000000,"context_switches":12,"io_read_bytes":1350000000000`,
		`"name":"system","kind":"system","total":{"cpu_nanoseconds":0,"context_switches":null,"io_read_bytes":null,"io_written_bytes":null,"energy":[],"run_queue":null,"block":null,"throttle":null,"pressure":null,"memory":null,"network":null,"moved_out":null,"moved_in":null,"cycles":null,"instructions":null}`,
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
	h := FromSeries(&camv1.SeriesResponse{Points: []*camv1.SeriesPoint{{CoveredNanoseconds: 1, Values: []*camv1.SeriesValue{
		{Account: "a", Usage: &camv1.Usage{}},
		{Account: "system", Usage: &camv1.Usage{CpuNanoseconds: 1, Energy: []*camv1.ZoneEnergy{{Zone: "package", Microjoules: 5e6, Source: "rapl"}}}},
	}}}}, "package", FromObservation(o).Zones, FromMeasured(o.Measured))
	b.Reset()
	if err := WriteEnergy(&b, h, true, Style{Charset: text.Unicode()}); err != nil || !regexp.MustCompile(`(?m)^a +- +- +- +-$`).MatchString(b.String()) {
		t.Errorf("%v in\n%s", err, b.String())
	}
	raw, err = json.Marshal(h)
	if want := `"microjoules":null,"mean_microwatts":null,"share":null,"cpu_nanoseconds":null,"io_read_bytes":null,"io_written_bytes":null,`; err != nil || !strings.Contains(string(raw), want) {
		t.Errorf("no %s in %s, %v", want, raw, err)
	}
}

func TestZonesAreSummedOverSocketsOnly(t *testing.T) {
	o := FromObservation(twoSockets())
	rows := Rows(o, "package")
	if r := rows[0]; r.Microjoules != 64_000e6 || r.Microwatts != 10.5e6 || r.Source != "rapl" || r.Cores != 1.5 || r.ReadRate != 675e6 {
		t.Errorf("got %+v", r)
	}
	if r := Rows(o, "core")[0]; r.Microjoules != 30_000e6 {
		t.Errorf("core: got %d", r.Microjoules)
	}
	if r := Rows(o, "dram")[0]; r.Metered || r.Watts() != "-" || r.Joules() != "-" {
		t.Errorf("an unmetered zone shows %s, %s", r.Watts(), r.Joules())
	}
	m := Meter(o.Zones, "package")
	if m.Sockets != 2 || m.Metered != m.Agents+m.System+m.Idling+m.Unattributed || m.Quality != "stale" || m.AgeNanoseconds != 9e9 {
		t.Errorf("got %+v", m)
	}
	mixed := Usage{Energy: []ZoneEnergy{{Zone: "package", Microjoules: 1, Source: "rapl"}, {Zone: "package", Socket: 1, Microjoules: 2, Source: "model"}}}
	if e, source, ok := Energy(mixed, "package"); e != 3 || source != "model+rapl" || !ok {
		t.Errorf("mixed sources: %d %s", e, source)
	}
}

func TestLabels(t *testing.T) {
	zone := func(source, quality string, e float64) []Zone {
		return []Zone{{Zone: "package", Provenance: Provenance{Source: source, Quality: quality, RelativeError: e}}}
	}
	for want, zones := range map[string][]Zone{
		"not metered":     nil,
		"rapl":            zone("rapl", "measured", 0),
		"rapl STALE":      zone("rapl", "stale", 0),
		"model ±50%":      zone("model", "estimated", 0.5),
		"SIMULATED":       zone("simulated", "simulated", 0),
		"rapl+SIMULATED":  zone("rapl", "simulated", 0),
		"SIMULATED STALE": zone("simulated", "stale", 0),
		"model+rapl ±50%": append(zone("rapl", "measured", 0), zone("model", "estimated", 0.5)...),
	} {
		if got := Meter(zones, "package").Label(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for want, p := range map[string]Provenance{
		"ebpf, exact":              {Source: "ebpf", Quality: "measured"},
		"cgroup, an estimate ±20%": {Source: "cgroup", Quality: "estimated", RelativeError: 0.2},
		"procfs, stale (10 ms)":    {Source: "procfs", Quality: "stale", Note: "10 ms"},
		"unknown source":           {},
	} {
		if got := SensorLabel(p); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestChooseZone(t *testing.T) {
	zones := []Zone{{Zone: "dram"}, {Zone: "package"}, {Zone: "package", Socket: 1}}
	for _, c := range []struct {
		zones       []Zone
		wanted, got string
		err         string
	}{
		{zones, "", "package", ""},
		{zones, "dram", "dram", ""},
		{zones, "psys", "", "choose one of dram, package"},
		{nil, "", "", ""},
		{nil, "package", "", "no energy is metered"},
		{[]Zone{{Zone: "gpu"}}, "", "gpu", ""},
	} {
		got, err := ChooseZone(c.zones, c.wanted)
		if got != c.got || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: got %q, %v", c.wanted, got, err)
		}
	}
}

func TestSortKeepsOthersLast(t *testing.T) {
	agent := func(name string, cpu, io, uj uint64) Account {
		return Account{Name: name, Kind: Agent, Interval: Usage{CPUNanoseconds: cpu, IOReadBytes: io, Energy: []ZoneEnergy{{Zone: "package", Microjoules: uj}}}}
	}
	for by, want := range map[SortKey]string{ByName: "a b c d system", ByCPU: "b a c d system", ByIO: "c a b d system", ByWatts: "d a b c system"} {
		o := Observation{IntervalNanoseconds: 1e9, Accounts: []Account{
			agent("d", 0, 0, 9), agent("c", 0, 9, 0), agent("b", 9, 0, 0), agent("a", 0, 0, 0), {Name: "system", Kind: System},
		}}
		o.Sort("package", by)
		var names []string
		for _, a := range o.Accounts {
			names = append(names, a.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %s, want %s", by, got, want)
		}
	}
}

func minutes() *camv1.SeriesResponse {
	s := &camv1.SeriesResponse{Resolution: durationpb.New(time.Minute)}
	start := time.Date(2026, 7, 9, 23, 59, 0, 0, time.UTC)
	use := func(cpu, joules uint64, source string) *camv1.Usage {
		u := &camv1.Usage{CpuNanoseconds: cpu * 1e9}
		if source != "" {
			u.Energy = []*camv1.ZoneEnergy{{Zone: "package", Microjoules: joules * 1e6, Source: source}, {Zone: "dram", Microjoules: 1, Source: source}}
		}
		return u
	}
	for i := range uint64(4) {
		source := "simulated"
		if i == 3 {
			source = "rapl"
		}
		p := &camv1.SeriesPoint{Start: timestamppb.New(start.Add(time.Duration(i) * time.Minute)), CoveredNanoseconds: 60e9}
		p.Values = append(p.Values, &camv1.SeriesValue{Account: "idle", Usage: use(0, 600, source)})
		if i != 1 {
			p.Values = append(p.Values, &camv1.SeriesValue{Account: "agent-b", Usage: use(30, 60*i, source)})
		}
		p.Values = append(p.Values, &camv1.SeriesValue{Account: "agent-a", Usage: use(60, 600, source)},
			&camv1.SeriesValue{Account: "unmetered", Usage: use(1, 0, "")}, &camv1.SeriesValue{Account: "system", Usage: use(6, 60, source)})
		s.Points = append(s.Points, p)
	}
	s.Points[2].CoveredNanoseconds = 30e9
	return s
}

func TestEnergyTable(t *testing.T) {
	zones := FromObservation(twoSockets()).Zones
	h := FromSeries(minutes(), "package", zones, FromMeasured(nil))
	var sum uint64
	for _, a := range h.Accounts {
		sum += a.Microjoules
		if len(a.Points) > 4 {
			t.Errorf("%s has %d points", a.Name, len(a.Points))
		}
	}
	if sum != h.Microjoules || h.CoveredNanoseconds != 210e9 {
		t.Errorf("parts %d, together %d, covered %d", sum, h.Microjoules, h.CoveredNanoseconds)
	}
	var b strings.Builder
	for _, width := range []int{0, 80} {
		if err := WriteEnergy(&b, h, true, Style{Charset: text.Unicode(), Width: width}); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "energy.golden", b.String())
	raw, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "energy.json", string(raw)+"\n")
	if !h.Has("agent-a") || h.Has("agent-z") {
		t.Error("Has is wrong")
	}
	if got := SeriesZones(minutes().Points); !cmp.Equal(got, []string{"package", "dram"}) {
		t.Errorf("zones %v", got)
	}
}

func TestEnergyWithoutFigures(t *testing.T) {
	for _, c := range []struct {
		h    History
		want string
	}{
		{FromSeries(nil, "package", nil, FromMeasured(nil)), "nothing was measured in this window yet"},
		{FromSeries(minutes(), "", nil, FromMeasured(nil)), "not metered on this node"},
		{FromSeries(minutes(), "psys", []Zone{{Zone: "psys"}}, FromMeasured(nil)), "not metered in this window"},
	} {
		var b strings.Builder
		if err := WriteEnergy(&b, c.h, false, Style{Charset: text.ASCII()}); err != nil || !strings.Contains(b.String(), c.want) {
			t.Errorf("%v, no %q in\n%s", err, c.want, b.String())
		}
	}
}

func TestStepsAreRoundAndFew(t *testing.T) {
	for window, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, 10 * time.Minute: 5 * time.Second, time.Hour: 30 * time.Second, 24 * time.Hour: 15 * time.Minute,
		7 * 24 * time.Hour: 2 * time.Hour, 365 * 24 * time.Hour: 7 * 24 * time.Hour,
	} {
		if got := Step(window); got != want {
			t.Errorf("%v: got %v, want %v", window, got, want)
		}
	}
}

type fullDisk struct{ after int }

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errors.New("no space")
	}
	return len(p), nil
}

func TestWriteErrorsAreNotLost(t *testing.T) {
	o := FromObservation(twoSockets())
	for after := range 2 {
		if err := WriteAgents(&fullDisk{after}, o, "package", Style{}); err == nil {
			t.Errorf("agents: no error after %d writes", after)
		}
	}
	if WriteBreakdown(&fullDisk{}, o, "package", Style{}) == nil || WriteEnergy(&fullDisk{}, FromSeries(minutes(), "package", nil, FromMeasured(nil)), true, Style{Charset: text.ASCII()}) == nil {
		t.Error("no error")
	}
}
