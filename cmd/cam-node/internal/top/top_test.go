package top

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/google/go-cmp/cmp"
	"github.com/muesli/termenv"

	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
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

// observation is the n-th of a machine with some agents on simulated power.
func observation(n, agents int) report.Observation {
	use := func(cpu, io, uj uint64) report.Usage {
		return report.Usage{CPUNanoseconds: cpu, IOReadBytes: io, IOWrittenBytes: io / 100, Energy: []report.ZoneEnergy{
			{Zone: "dram", Microjoules: uj / 10, Source: "simulated"}, {Zone: "package", Microjoules: uj, Source: "simulated"},
		}}
	}
	o := report.Observation{
		Time: time.Date(2026, 7, 9, 23, 21, n, 0, time.UTC), IntervalNanoseconds: 1e9, Sequence: uint64(n),
		Sensor:   report.Provenance{Source: "ebpf", Quality: "measured"},
		Measured: report.Measured{Agents: true, ContextSwitches: true, IO: true, RunQueue: true, Block: true, Controllers: true, Network: true, Moves: true},
		Missing:  []string{"psys: not on this machine"},
	}
	all := uint64(0)
	for i := range agents {
		uj := uint64(1e6 * (4 + 3*math.Sin(float64(n)/5+float64(i))) / float64(i+1))
		all += uj
		a := report.Account{Name: fmt.Sprintf("agent-%02d", i), Kind: report.Agent, State: "running", Memory: memory(n, i), Interval: use(uj*100, 675e6/uint64(i+1), uj), Total: use(uj*10000, 1e9, uj*1000)}
		if i == 1 {
			a.State, a.Name = "ended", "ended\x1b[2J"
		}
		a.Interval.Further, a.Total.Further = further(n, i), further(n, i)
		o.Accounts = append(o.Accounts, a)
	}
	o.Accounts = append(o.Accounts,
		report.Account{Name: "retired", Kind: report.Retired},
		report.Account{Name: "system", Kind: report.System, Interval: use(3e8, 12000, 4e6), Total: use(9e11, 1e7, 4e9)},
		report.Account{Name: "idle", Kind: report.Idle, Interval: use(0, 0, 12e6), Total: use(0, 0, 12e9)},
		report.Account{Name: "unattributed", Kind: report.Unattributed, Interval: use(0, 0, 2e4), Total: use(0, 0, 2e7)})
	p := report.Provenance{Source: "simulated", Quality: "simulated"}
	o.Zones = []report.Zone{
		{Zone: "dram", Provenance: p, Microwatts: (all + 16_020_000) / 10},
		{Zone: "package", Provenance: p, Microwatts: all + 16_020_000},
	}
	return o
}

// further is what the i-th agent does beside: the first writes, the third
// talks, others wait.
func further(n, i int) report.Further {
	k, part := uint64(n), uint64(i+1)
	times := report.Times{Count: 300, SumNanoseconds: 4e8 / part, P50Nanoseconds: 8000, P99Nanoseconds: 8192000 / part,
		Buckets: []uint64{200, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40}}
	f := report.Further{
		RunQueue: &times,
		Block:    []report.BlockUsage{{Device: "nvme0n1", Operation: "write", Bytes: k % 5 * 120e6 / part, Operations: 900 / part, Latency: times}},
		Network:  &report.Network{ReceivedBytes: part * 1e6, SentBytes: part * 2e5, ReceivedPackets: part * 800, SentPackets: part * 90, RefusedConnections: 3},
	}
	if i != 3 { // whose cgroup lacks the controllers
		f.Throttle = &report.Throttle{Nanoseconds: 25e7 / part, Periods: 5}
		f.Pressure = &report.Pressure{CPUSome: 3e8 / part, IOSome: 2e8 / part, MemorySome: 1e7}
		f.Memory = &report.MemoryEvents{ReclaimedBytes: 1e6, OOMKills: part / 2}
	}
	return f
}

func memory(n, i int) *report.Memory {
	if i == 3 {
		return nil
	}
	held := uint64(300+n%50) << 20 / uint64(i+1)
	return &report.Memory{CurrentBytes: held + 50<<20, WorkingSetBytes: held, LimitBytes: uint64(i%2) << 30}
}

func start(agents, observations int, charset text.Charset) *model {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(termenv.Ascii)
	m := newModel(Options{Sort: report.ByWatts, Style: report.Style{Charset: charset}}, "edge-01", r)
	for n := range observations {
		m.Update(event{observation: observation(n, agents)})
	}
	return m
}

func press(m *model, keys ...string) (quit bool) {
	for _, k := range keys {
		msg := tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)}
		switch k {
		case "down":
			msg = tea.KeyMsg{Type: tea.KeyDown}
		case "up":
			msg = tea.KeyMsg{Type: tea.KeyUp}
		case "pgdown":
			msg = tea.KeyMsg{Type: tea.KeyPgDown}
		case "pgup":
			msg = tea.KeyMsg{Type: tea.KeyPgUp}
		case "home":
			msg = tea.KeyMsg{Type: tea.KeyHome}
		case "ctrl+c":
			msg = tea.KeyMsg{Type: tea.KeyCtrlC}
		}
		_, cmd := m.Update(msg)
		if cmd != nil {
			_, quit = cmd().(tea.QuitMsg)
		}
	}
	return quit
}

func TestViewLooksAsItShould(t *testing.T) {
	m := start(20, 100, text.Unicode())
	golden(t, "80x24.golden", m.View())
	m.Update(tea.WindowSizeMsg{Width: 120, Height: 30})
	golden(t, "120x30.golden", m.View())
	m.Update(tea.WindowSizeMsg{Width: 40, Height: 12})
	golden(t, "40x12.golden", m.View())
	m = start(6, 100, text.Unicode())
	for _, v := range report.Views() {
		press(m, v.Key)
		for _, size := range []tea.WindowSizeMsg{{Width: 80, Height: 24}, {Width: 60, Height: 20}} {
			m.Update(size)
			golden(t, fmt.Sprintf("%s-%dx%d.golden", v.Name, size.Width, size.Height), m.View())
		}
	}
	golden(t, "ascii.golden", start(5, 100, text.ASCII()).View())
}

// Whatever the terminal, the interface neither scrolls nor wraps it.
func TestViewFitsEveryTerminal(t *testing.T) {
	for _, agents := range []int{0, 1, 40} {
		m := start(agents, 3, text.Unicode())
		for width := 1; width < 130; width += 3 {
			for height := 1; height < 40; height += 2 {
				press(m, report.Views()[(width+height)%5].Key)
				m.Update(tea.WindowSizeMsg{Width: width, Height: height})
				lines := strings.Split(m.View(), "\n")
				if len(lines) > height {
					t.Fatalf("%dx%d: %d lines", width, height, len(lines))
				}
				for _, l := range lines {
					if text.Width(l) > width {
						t.Fatalf("%dx%d: %q is %d wide", width, height, l, text.Width(l))
					}
				}
			}
		}
	}
}

func TestSimulatedIsAlwaysSaid(t *testing.T) {
	m := start(3, 3, text.Unicode())
	for _, size := range []tea.WindowSizeMsg{{Width: 80, Height: 24}, {Width: 60, Height: 16}, {Width: 44, Height: 12}, {Width: 40, Height: 8}} {
		m.Update(size)
		if !strings.Contains(m.View(), "SIMULATED") {
			t.Errorf("%v:\n%s", size, m.View())
		}
	}
	if strings.Contains(m.View(), "\x1b") {
		t.Error("an escape code without colours")
	}
}

func TestKeys(t *testing.T) {
	m := start(40, 10, text.Unicode())
	first := func() string { return strings.Fields(strings.Split(m.View(), "\n")[9])[0] }
	for _, by := range []report.SortKey{report.ByCPU, report.ByIO, report.ByName} {
		press(m, "s")
		if m.options.Sort != by || !strings.Contains(m.View(), "by "+string(by)) {
			t.Errorf("sorted by %s, want %s", m.options.Sort, by)
		}
	}
	if first() != "agent-00" {
		t.Errorf("by name: %s", first())
	}
	for _, v := range report.Views() {
		press(m, v.Key)
		if v.Name != m.view.Name || m.scroll != 0 || !strings.Contains(m.View(), "camctl top  "+v.Title) {
			t.Errorf("%s: got\n%s", v.Key, m.View())
		}
	}
	press(m, "c", "s", "s", "s", "down", "down", "up")
	if first() != "agent-02" { // the second, ended\x1b, sorts last
		t.Errorf("scrolled to %s", first())
	}
	press(m, "pgdown", "pgdown", "pgdown", "pgdown", "pgdown")
	if !strings.Contains(m.View(), "ended") {
		t.Errorf("the end is out of reach:\n%s", m.View())
	}
	press(m, "pgup", "home")
	if m.scroll != 0 {
		t.Errorf("scroll %d", m.scroll)
	}
	press(m, "z")
	if m.zone != "dram" || !strings.Contains(m.View(), "dram") {
		t.Errorf("zone %s", m.zone)
	}
	m.Update(event{observation: observation(10, 40)})
	if m.zone != "dram" {
		t.Errorf("the zone went back to %s", m.zone)
	}
	for _, k := range []string{"q", "ctrl+c"} {
		if !press(m, k) {
			t.Errorf("%s does not quit", k)
		}
	}
	if _, cmd := m.Update(tea.KeyMsg{Type: tea.KeyCtrlZ}); cmd == nil {
		t.Error("ctrl+z does nothing")
	}
}

func TestPauseStandsStill(t *testing.T) {
	m := start(3, 50, text.Unicode())
	press(m, " ")
	still := m.View()
	if !strings.Contains(still, "paused") {
		t.Error("it does not say so")
	}
	for n := range 7 {
		m.Update(event{observation: observation(50+n, 3)})
	}
	if d := cmp.Diff(still, m.View()); d != "" {
		t.Errorf("it moved:\n%s", d)
	}
	press(m, " ")
	if want := start(3, 57, text.Unicode()).View(); m.View() != want {
		t.Errorf("after the pause (-want +got):\n%s", cmp.Diff(want, m.View()))
	}
}

func TestTheNodeGoesAwayAndReturns(t *testing.T) {
	m := start(3, 5, text.Unicode())
	m.Update(event{lost: errors.New("gone")})
	if v := m.View(); !strings.Contains(v, "the node went away: waiting for it") || !strings.Contains(v, "agent-00") {
		t.Errorf("got\n%s", v)
	}
	m.Update(event{observation: observation(6, 3)})
	if !strings.Contains(m.View(), "live") {
		t.Errorf("got\n%s", m.View())
	}
}

func TestWithoutEnergy(t *testing.T) {
	m := start(0, 0, text.Unicode())
	o := observation(1, 3)
	o.Zones, o.Coarse, o.Sensor = nil, true, report.Provenance{Source: "procfs", Quality: "estimated"}
	for i := range o.Accounts {
		o.Accounts[i].Total.Energy, o.Accounts[i].Interval.Energy = nil, nil
	}
	m.Update(event{observation: o})
	v := m.View()
	for _, want := range []string{"energy is not metered", "CPU OVER TIME", "procfs estimated", "coarse"} {
		if !strings.Contains(v, want) {
			t.Errorf("no %q in\n%s", want, v)
		}
	}
	press(m, "z") // no zone to go to
}

func TestHistoryIsBounded(t *testing.T) {
	var h history
	for n := range Kept + 50 {
		o := observation(n, 2)
		if n > 20 {
			o.Accounts = o.Accounts[1:] // the first agent is no more
		}
		h.add(o)
	}
	if h.length != Kept {
		t.Errorf("length %d", h.length)
	}
	for c, values := range h.curves {
		if len(values) != Kept {
			t.Errorf("%v has %d", c, len(values))
		}
		if c.account == "agent-00" {
			t.Errorf("%v is still kept", c)
		}
	}
}

func TestWatchWaits(t *testing.T) {
	away := errors.New("away")
	temporary := func(err error) bool { return errors.Is(err, away) }
	if err := watch(t.Context(), func(context.Context, func(report.Observation) error) error { return away }, temporary, nil); !errors.Is(err, away) {
		t.Errorf("a node that never was: %v", err)
	}
	connections := 0
	follow := func(_ context.Context, use func(report.Observation) error) error {
		if connections++; connections == 2 {
			return nil // ended without a word
		}
		if err := use(observation(connections, 1)); err != nil {
			return err
		}
		return away
	}
	var out, errs bytes.Buffer
	o := Options{Iterations: 2, Sort: report.ByWatts, Temporary: temporary, Style: report.Style{Charset: text.Unicode()}}
	if err := Plain(t.Context(), follow, o, &out, &errs); err != nil {
		t.Fatal(err)
	}
	if got := errs.String(); got != "away\nwaiting for it\nthe node is back\n" {
		t.Errorf("got %q", got)
	}
	if n := strings.Count(out.String(), "cpu, i/o"); n != 1 {
		t.Errorf("where figures come from is said %d times:\n%s", n, out.String())
	}
	if n := strings.Count(out.String(), "NAME"); n != 2 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%d tables:\n%s", n, out.String())
	}
	o.Zone = "psys"
	if err := Plain(t.Context(), follow, o, &out, &errs); err == nil || !strings.Contains(err.Error(), "no zone") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := watch(ctx, follow, temporary, func(event) error { cancel(); return nil })
	if err != nil {
		t.Errorf("got %v", err)
	}
}

// The program itself, with a pipe for a keyboard.
func TestTerminal(t *testing.T) {
	follow := func(ctx context.Context, use func(report.Observation) error) error {
		for n := 0; ; n++ {
			if err := use(observation(n, 3)); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	always := func(error) bool { return true }
	var out bytes.Buffer
	o := Options{Iterations: 3, Sort: report.ByWatts, Temporary: always, Style: report.Style{Charset: text.Unicode()}}
	if err := Terminal(t.Context(), follow, o, "edge-01", strings.NewReader(""), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "agent-00") || !strings.Contains(out.String(), "\x1b[?1049l") { // the screen is given back
		t.Errorf("got %q", out.String())
	}
	o.Iterations = 0
	if err := Terminal(t.Context(), follow, o, "edge-01", strings.NewReader("cq"), &out); err != nil {
		t.Errorf("q: %v", err)
	}
	o.Zone = "psys"
	if err := Terminal(t.Context(), follow, o, "", strings.NewReader(""), &out); err == nil {
		t.Error("a zone that is not there was taken")
	}
	refused := errors.New("refused")
	o = Options{Temporary: func(error) bool { return false }}
	if err := Terminal(t.Context(), func(context.Context, func(report.Observation) error) error { return refused }, o, "", strings.NewReader(""), &out); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	later := func(ctx context.Context, use func(report.Observation) error) error {
		if err := use(observation(1, 1)); err != nil {
			return err
		}
		return refused
	}
	if err := Terminal(t.Context(), later, o, "", strings.NewReader(""), &out); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}

// A terminal that starts later shows the curves of one that ran all along.
func TestThePastIsSeeded(t *testing.T) {
	var past []report.Observation
	for n := range 40 {
		past = append(past, observation(n, 3))
	}
	past[7] = report.Observation{}
	m := start(0, 0, text.Unicode())
	m.past.seed(past)
	m.Update(event{observation: observation(40, 3)})
	want := start(3, 7, text.Unicode())
	want.past.gap()
	for n := 8; n <= 40; n++ {
		want.Update(event{observation: observation(n, 3)})
	}
	if d := cmp.Diff(want.View(), m.View()); d != "" {
		t.Error(d)
	}
}

func TestHelp(t *testing.T) {
	m := start(3, 3, text.Unicode())
	for _, width := range []int{20, 40, 60, 200} {
		m.Update(tea.WindowSizeMsg{Width: width, Height: 20})
		lines := strings.Split(m.View(), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, " q quit  ? help") || strings.Contains(last, "~") {
			t.Errorf("%d: %q", width, last)
		}
	}
	m.Update(tea.WindowSizeMsg{Width: 60, Height: 20})
	press(m, "?")
	for _, want := range []string{"sort by the next of watts", "m memory", "next energy zone", "scroll"} {
		if !strings.Contains(m.View(), want) {
			t.Errorf("no %q in\n%s", want, m.View())
		}
	}
	press(m, "h")
	if strings.Contains(m.View(), "next energy zone") {
		t.Error("help stays")
	}
	o := observation(4, 3)
	o.Zones = o.Zones[1:]
	m.Update(event{observation: o})
	press(m, "z")
	if !strings.Contains(m.View(), "only one zone") || !strings.Contains(m.View(), "q quit") {
		t.Errorf("got\n%s", m.View())
	}
	press(m, "x")
	if strings.Contains(m.View(), "only one zone") {
		t.Error("a notice stays")
	}
}

func TestTheIntervalDoesNotJitter(t *testing.T) {
	for got, want := range map[time.Duration]time.Duration{
		996 * time.Millisecond: time.Second, 1004 * time.Millisecond: time.Second, 4998 * time.Millisecond: 5 * time.Second,
		397 * time.Millisecond: 400 * time.Millisecond,
	} {
		if s := steady(got); s != want {
			t.Errorf("%v: %v", got, s)
		}
	}
}

// What a node does not measure is said, and never a zero.
func TestViewsWithoutFigures(t *testing.T) {
	m := start(0, 0, text.Unicode())
	o := observation(1, 3)
	o.Measured = report.Measured{Agents: true, ContextSwitches: true}
	for i := range o.Accounts {
		o.Accounts[i].Memory = nil
		for _, u := range []*report.Usage{&o.Accounts[i].Interval, &o.Accounts[i].Total} {
			u.Further, u.Lacking.IO = report.Further{}, true
		}
	}
	m.Update(event{observation: o})
	for _, v := range report.Views()[1:] {
		press(m, v.Key)
		view := m.View()
		if !strings.Contains(view, v.Lack+" (camctl doctor says why)") {
			t.Errorf("no %q in\n%s", v.Lack, view)
		}
		for line := range strings.Lines(view) {
			if f := strings.Fields(line); strings.HasPrefix(line, " agent-") && strings.Trim(strings.Join(f[1:], ""), "-") != "" {
				t.Errorf("%s: a figure out of nothing: %s", v.Name, line)
			}
		}
		var out bytes.Buffer
		follow := func(_ context.Context, use func(report.Observation) error) error { return use(o) }
		if err := Plain(t.Context(), follow, Options{View: v.Name, Iterations: 1}, &out, io.Discard); err != nil || !strings.Contains(out.String(), v.Lack) {
			t.Errorf("%s: %v in\n%s", v.Name, err, &out)
		}
	}
	if err := Plain(t.Context(), nil, Options{View: "colours"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "choose one of cpu, io") {
		t.Errorf("got %v", err)
	}
}

// Stalls are known and the run queue is not: that is no 0.
func TestWaitsWithoutRunQueue(t *testing.T) {
	m := start(0, 0, text.Unicode())
	o := observation(1, 2)
	o.Measured.RunQueue = false
	for i := range o.Accounts {
		o.Accounts[i].Interval.RunQueue, o.Accounts[i].Total.RunQueue = nil, nil
	}
	m.Update(event{observation: o})
	press(m, "w")
	if !strings.Contains(m.View(), "\n - tasks waiting for a CPU") || !strings.Contains(m.View(), "25.0%") {
		t.Errorf("got\n%s", m.View())
	}
}

func TestPlainViews(t *testing.T) {
	var out bytes.Buffer
	follow := func(_ context.Context, use func(report.Observation) error) error { return use(observation(4, 6)) }
	for _, v := range report.Views() {
		if err := Plain(t.Context(), follow, Options{View: v.Name, Iterations: 1, Style: report.Style{Charset: text.Unicode()}}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "plain.golden", out.String())
}
