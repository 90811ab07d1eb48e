package report

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cam-os/edge/cmd/cam-node/internal/text"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// whole is what a node sends that measures everything: agent writer has all
// controllers and a limit, bare has none, gone has ended.
func whole() *camv1.Observation {
	o := twoSockets()
	o.Coarse = false
	o.Measured = &camv1.Measured{Agents: true, ContextSwitches: true, Io: true, RunQueue: true, Block: true, Controllers: true, Network: true, Moves: true, Cycles: true}
	times := func(k uint64) *camv1.Times {
		return &camv1.Times{Buckets: []uint64{k, 0, 0, 8 * k, 0, 0, 0, 0, 0, 0, 0, 0, k}, SumNanoseconds: 4e6 * k}
	}
	use := func(k uint64, everything bool) *camv1.Usage {
		u := &camv1.Usage{
			CpuNanoseconds: 8e8 * k, ContextSwitches: 900 * k, IoReadBytes: 2e6 * k, IoWrittenBytes: 40e6 * k,
			Energy:   []*camv1.ZoneEnergy{{Zone: "package", Microjoules: 3e6 * k, Source: "rapl"}},
			RunQueue: times(k), Network: &camv1.Network{ReceivedBytes: 5e5 * k, ReceivedPackets: 400 * k, SentBytes: 1e5 * k, SentPackets: 90 * k, RefusedConnections: k},
			MovedOut: k / 1000, Cycles: 2e9 * k, Instructions: 3e9 * k,
		}
		if everything {
			u.Block = []*camv1.BlockUsage{
				{Device: "nvme0n1", Operation: "write", Bytes: 200e6 * k, Operations: 400 * k, Latency: times(k)},
				{Device: "nvme0n1", Operation: "flush", Operations: 3 * k},
				{Device: "sda\x1b", Operation: "read", Bytes: 1e6 * k, Operations: 9 * k, Latency: times(k)},
			}
			u.Throttle = &camv1.Throttle{Nanoseconds: 3e8 * k, Periods: 4 * k}
			u.Pressure = &camv1.Pressure{CpuSomeNanoseconds: 4e8 * k, IoSomeNanoseconds: 2e8 * k, MemorySomeNanoseconds: 1e6 * k}
			u.Memory = &camv1.MemoryEvents{ReclaimedBytes: 1e6 * k, OomKills: k / 500}
		}
		return u
	}
	agent := func(name string, everything bool) *camv1.Account {
		a := &camv1.Account{Name: name, Kind: camv1.AccountKind_ACCOUNT_KIND_AGENT, State: camv1.AgentState_AGENT_STATE_RUNNING,
			Cgroup: "/cam.slice/cam-" + name + ".scope", Total: use(1000, everything), Interval: use(2, everything)}
		if everything {
			a.Memory = &camv1.Memory{CurrentBytes: 400e6, WorkingSetBytes: 300e6, PeakBytes: 500e6, LimitBytes: 512e6, SwapBytes: 3e6}
		}
		return a
	}
	o.Accounts = append([]*camv1.Account{agent("writer", true), agent("bare", false), agent("gone", true)}, o.Accounts[4:8]...)
	o.Accounts[2].State, o.Accounts[2].Memory, o.Accounts[2].Interval, o.Accounts[2].Cgroup = camv1.AgentState_AGENT_STATE_ENDED, nil, &camv1.Usage{}, ""
	o.Moves = []*camv1.Move{
		{Time: o.Time, Process: 77, Command: "sh\x1b[2J", From: "writer", To: "system", By: 78, ByCommand: "bash"},
		{Time: o.Time, Process: 79, Command: "fork", From: "bare", To: "gone", Fork: true},
	}
	return o
}

func pastOfWriter(t *testing.T) *PastUsage {
	t.Helper()
	end := whole().Time.AsTime()
	s := &camv1.SeriesResponse{Resolution: durationpb.New(time.Second)}
	for i := range 120 {
		if i >= 30 && i < 50 {
			continue // nothing was measured
		}
		p := &camv1.SeriesPoint{Start: timestamppb.New(end.Add(time.Duration(i-120) * 5 * time.Second)), CoveredNanoseconds: 5e9}
		if i < 100 { // afterwards it is quiet
			u := whole().Accounts[0].Interval
			u.CpuNanoseconds = uint64(3e9 * (1 + math.Sin(float64(i)/8)))
			u.Throttle = nil
			p.Values = []*camv1.SeriesValue{{Account: "other", Usage: u}, {Account: "writer", Usage: u}}
		}
		s.Points = append(s.Points, p)
	}
	return FromPast(s, "writer", 10*time.Minute, 5*time.Second, FromMeasured(whole().Measured))
}

func TestAgentPage(t *testing.T) {
	o := FromObservation(whole())
	var b strings.Builder
	for _, c := range []struct {
		name  string
		width int
		past  *PastUsage
	}{
		{"writer", 0, pastOfWriter(t)}, {"writer", 80, pastOfWriter(t)}, {"writer", 40, pastOfWriter(t)}, {"bare", 0, nil},
		{"gone", 80, FromPast(nil, "gone", time.Hour, 30*time.Second, o.Measured)}, {"system", 0, nil},
	} {
		fmt.Fprintf(&b, "# %s in %d\n", c.name, c.width)
		p := AgentPage(o, c.name, c.past)
		if c.name == "bare" {
			p.Agent.Cgroups, p.NotMeasured = []string{"/a", "/b"}, []string{"memory and OOM kills: the memory controller is not enabled for /a"}
		}
		if err := WritePage(&b, p, "package", Style{Charset: text.Unicode(), Width: c.width}); err != nil {
			t.Fatal(err)
		}
		if c.width > 60 {
			for line := range strings.Lines(b.String()[strings.LastIndex(b.String(), "# "+c.name):]) {
				if text.Width(strings.TrimSuffix(line, "\n")) > c.width {
					t.Errorf("%s: wider than %d: %s", c.name, c.width, line)
				}
			}
		}
	}
	golden(t, "page.golden", b.String())
	if strings.Contains(b.String(), "\x1b") {
		t.Error("a name reached the terminal as it was")
	}
	if err := WritePage(&fullDisk{}, AgentPage(o, "bare", nil), "package", Style{}); err == nil {
		t.Error("no error")
	}
}

// Programs get the same: null for what is not measured, and exact integers.
func TestAgentPageJSON(t *testing.T) {
	o := FromObservation(whole())
	raw, err := json.Marshal(AgentPage(o, "bare", nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"block":[],"throttle":null,"pressure":null,"memory":null,"network":{"received_bytes":500000000,`, `"memory":null}`, `"past":null`,
		`"moves":[{"time":"2026-07-09T23:21:00Z","process":79,`, `"not_measured":["dram: this processor does not meter it"]`,
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
	raw, err = json.Marshal(AgentPage(o, "writer", pastOfWriter(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"throttle":{"nanoseconds":300000000000,"periods":4000}`, `"limit_bytes":512000000`, `"since_nanoseconds":600000000000,"step_nanoseconds":5000000000`,
		`"run_queue":{"count":10000,"sum_nanoseconds":4000000000,"p50_nanoseconds":8000,"p99_nanoseconds":4096000,"buckets":[1000,0,0,8000,`,
		`"device":"nvme0n1","operation":"flush","bytes":0,"operations":3000`,
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
}

func TestWideAgentsTable(t *testing.T) {
	o := FromObservation(whole())
	var b strings.Builder
	for _, s := range []Style{{Width: 80, Wide: true}, {Width: 80}, {}} {
		s.Charset = text.Unicode()
		if err := WriteAgents(&b, o, "package", s); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
	}
	golden(t, "wide.golden", b.String())
}

// What is measured and not used is 0; what is not measured never is.
func TestPartsThatAreMeasured(t *testing.T) {
	raw := whole()
	raw.Accounts[0].Interval = &camv1.Usage{}
	raw.Accounts[0].Total.Memory = nil // and holds memory
	o := FromObservation(raw)
	u := o.Accounts[0].Interval
	if u.Throttle == nil || u.Pressure == nil || u.Memory == nil || u.Network == nil || u.RunQueue == nil || u.Block == nil || u.MovedOut == nil {
		t.Errorf("an idle interval lacks parts: %+v", u.Further)
	}
	if u := o.Accounts[1].Interval; u.Throttle != nil || u.Pressure != nil || u.Memory != nil {
		t.Errorf("figures out of nothing: %+v", u.Further)
	}
	for _, a := range o.Accounts {
		if a.Kind == Idle && (a.Total.RunQueue != nil || a.Total.Block != nil || a.Total.Network != nil || a.Total.MovedIn != nil) {
			t.Errorf("idle is energy alone: %+v", a.Total.Further)
		}
	}
	row := Row{Interval: u.Further} // no interval yet
	if row.Waiting() != 0 || row.Throttled() != 0 || row.Disk("read") != 0 {
		t.Error("a rate without an interval")
	}
	sum := times(&camv1.Times{Buckets: []uint64{1}, SumNanoseconds: 5}).Add(times(&camv1.Times{Buckets: []uint64{0, 3}, SumNanoseconds: 6}))
	if sum.Count != 4 || sum.SumNanoseconds != 11 || sum.P99Nanoseconds != 2000 || len(sum.Buckets) != 2 {
		t.Errorf("got %+v", sum)
	}
	if c := Coarse(o); len(c.Moves) != 0 || c.Accounts[0].Interval.RunQueue != nil {
		t.Errorf("coarse: %+v", c.Moves)
	}
}

func TestSortByWhatIsMeasured(t *testing.T) {
	o := FromObservation(whole())
	for by, want := range map[SortKey]string{ByDisk: "writer", ByMemory: "writer", ByThrottled: "writer", ByLatency: "writer", ByName: "bare", ByNetwork: "bare", ByWait: "bare"} {
		o.Sort("package", by)
		if o.Accounts[0].Name != want {
			t.Errorf("by %s: %s is first", by, o.Accounts[0].Name)
		}
	}
	if _, err := ViewNamed("colours"); err == nil {
		t.Error("no error")
	}
}

func TestBounds(t *testing.T) {
	for ns, want := range map[float64]string{0: "0", 1e3: "<1µs", 512e3: "<512µs", 1.024e6: "<1ms", 524.288e6: "<524ms", 1.048576e9: "<1s", 8.388608e9: "<8s", 16.777216e9: ">8s"} {
		if got := boundText(ns); got != want {
			t.Errorf("%v: %s, want %s", ns, got, want)
		}
	}
}
