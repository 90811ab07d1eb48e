package simulator_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/energy/simulator"
	"go.yaml.in/yaml/v3"
)

// leaf makes a cgroup of our own and removes it at the end.
func leaf(t *testing.T, mount, name string) string {
	t.Helper()
	dir := filepath.Join(mount, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		if os.Geteuid() != 0 {
			t.Skipf("making a cgroup takes root: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 100 { // a killed process leaves its cgroup a little later
			if err := os.Remove(dir); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("cannot remove %s", dir)
	})
	return dir
}

// burn keeps a CPU busy in a cgroup, from its first instruction on.
func burn(t *testing.T, dir string) {
	t.Helper()
	cgroup, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer cgroup.Close()
	cmd := exec.Command("sha256sum", "/dev/zero")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd()), Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

func mount(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
			return dir
		}
	}
	mounts, _ := os.ReadFile("/proc/mounts")
	if strings.Contains(string(mounts), " cgroup2 ") {
		t.Fatal("cgroup2 is mounted in an unusual place")
	}
	t.Skip("this machine mounts no cgroup2")
	return ""
}

// Two agents with different watts on two sockets, processes that really burn,
// counters that wrap: what the meter reads is the truth.
func TestMeterReadsTheTruth(t *testing.T) {
	cgroups, root := mount(t), t.TempDir()
	prefix := "cam-simulator-test-" + strconv.Itoa(os.Getpid())
	a, b := leaf(t, cgroups, prefix+"-a"), leaf(t, cgroups, prefix+"-b")

	config := simulator.Config{
		Root:        root,
		RangeJoules: 2000, StartJoules: 1999,
		Sockets:     []simulator.Socket{{IdleWatts: 7.123457, Core: true}, {IdleWatts: 3, DRAMWatts: 1.5}},
		Loads:       []simulator.Load{{Cgroup: "/" + prefix + "-a", Watts: 20}, {Cgroup: "/" + prefix + "-*", Watts: 9.99, Socket: 1}},
		OtherWatts:  4,
		OtherSocket: 1,
	}
	sim, err := simulator.New(config, simulator.Boottime())
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	meter, missing, err := energy.Open(energy.Config{Sysfs: root})
	if err != nil || len(missing) != 0 {
		t.Fatal(missing, err)
	}
	defer meter.Close()
	meter.Read(energy.Activity{At: simulator.Boottime()})

	burn(t, a)
	burn(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- sim.Run(ctx, 20*time.Millisecond) }()
	// Reading while files are replaced never meets an empty or torn one. The
	// work is done when it is done, however busy the machine.
	busy := func(name string) (micro uint64) {
		for _, c := range sim.Truth().Cgroups {
			if c.Cgroup == "/"+name {
				return c.Busy
			}
		}
		return 0
	}
	for busy(prefix+"-a") < 300_000 || busy(prefix+"-b") < 300_000 {
		for _, r := range meter.Read(energy.Activity{At: simulator.Boottime()}) {
			if r.Faults > 0 {
				t.Fatalf("a fault without one: %+v", r)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	truth := sim.Truth()
	want := map[energy.Zone]energy.Microjoules{
		{Name: energy.Package, Socket: 0, Source: energy.Simulated}: truth.Sockets[0].Total(),
		{Name: energy.Package, Socket: 1, Source: energy.Simulated}: truth.Sockets[1].Total(),
		{Name: energy.Core, Socket: 0, Source: energy.Simulated}:    truth.Sockets[0].Active,
		{Name: energy.DRAM, Socket: 1, Source: energy.Simulated}:    truth.Sockets[1].DRAM,
	}
	readings := meter.Read(energy.Activity{At: simulator.Boottime()})
	if len(readings) != len(want) {
		t.Errorf("%d readings, want %d", len(readings), len(want))
	}
	for _, r := range readings {
		t.Logf("%s of socket %d: metered %d µJ, true %d µJ, %d wraps", r.Zone.Name, r.Zone.Socket, r.Total, want[r.Zone], r.Wraps)
		if r.Total != want[r.Zone] {
			t.Errorf("%+v: metered %d µJ, true are %d", r.Zone, r.Total, want[r.Zone])
		}
		if r.Zone.Name == energy.Package && r.Zone.Socket == 0 && r.Wraps == 0 {
			t.Error("the counter was to wrap")
		}
	}

	// The parts of the truth sum to the whole, and each is watts times work.
	active := make([]energy.Microjoules, 2)
	for _, c := range truth.Cgroups {
		active[c.Socket] += c.Active
		watts := uint64(4_000_000)
		switch c.Cgroup {
		case "/" + prefix + "-a":
			watts = 20_000_000
		case "/" + prefix + "-b":
			watts = 9_990_000
		}
		if want := energy.Microjoules(c.Busy * watts / 1_000_000); c.Active != want {
			t.Errorf("%s: %d µJ for %d µs, want %d", c.Cgroup, c.Active, c.Busy, want)
		}
	}
	for i, s := range truth.Sockets {
		if active[i] != s.Active {
			t.Errorf("socket %d: cgroups sum to %d µJ of %d", i, active[i], s.Active)
		}
	}

	// An auditor reads the same.
	text, err := os.ReadFile(filepath.Join(root, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var audited simulator.Truth
	if err := json.Unmarshal(text, &audited); err != nil {
		t.Fatal(err)
	}
	if audited.Steps != truth.Steps || audited.Sockets[0] != truth.Sockets[0] || len(audited.Cgroups) != len(truth.Cgroups) {
		t.Errorf("truth.json %+v is not %+v", audited, truth)
	}
}

// The configuration is written in YAML, and what a key is called stays.
func TestConfigIsYAML(t *testing.T) {
	text := `
root: /run/cam/sys
range_joules: 1000
start_joules: 990
sockets:
  - {idle_watts: 8, core: true, dram_watts: 2}
loads:
  - {cgroup: /cam.slice/*, watts: 12.5, socket: 0}
other_watts: 3
`
	var c simulator.Config
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&c); err != nil {
		t.Fatal(err)
	}
	want := simulator.Config{
		Root: "/run/cam/sys", RangeJoules: 1000, StartJoules: 990, OtherWatts: 3,
		Sockets: []simulator.Socket{{IdleWatts: 8, Core: true, DRAMWatts: 2}},
		Loads:   []simulator.Load{{Cgroup: "/cam.slice/*", Watts: 12.5}},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want %+v", c, want)
	}
}

// fakeCgroups lets a test say what was worked.
func fakeCgroups(t *testing.T, micro map[string]uint64) string {
	t.Helper()
	dir := t.TempDir()
	work(t, dir, micro)
	return dir
}

func work(t *testing.T, dir string, micro map[string]uint64) {
	t.Helper()
	for cgroup, m := range micro {
		if err := os.MkdirAll(filepath.Join(dir, cgroup), 0o755); err != nil {
			t.Fatal(err)
		}
		text := "usage_usec " + strconv.FormatUint(m, 10) + "\nuser_usec 0\n"
		if err := os.WriteFile(filepath.Join(dir, cgroup, "cpu.stat"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func active(sim *simulator.Simulator, cgroup string) energy.Microjoules {
	for _, c := range sim.Truth().Cgroups {
		if c.Cgroup == cgroup {
			return c.Active
		}
	}
	return 0
}

func TestNestedGoneAndReturnedCgroups(t *testing.T) {
	dir := fakeCgroups(t, map[string]uint64{".": 1000, "s": 500, "s/a": 400})
	sim, err := simulator.New(simulator.Config{
		Root: filepath.Join(t.TempDir(), "sys"), Cgroup: dir,
		Loads:      []simulator.Load{{Cgroup: "/s/*", Watts: 10}, {Cgroup: "/s", Watts: 2}},
		OtherWatts: 1,
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	now := time.Duration(0)
	step := func() {
		t.Helper()
		now += time.Second
		if err := sim.Step(now); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, a, s, other energy.Microjoules) {
		t.Helper()
		if ga, gs, gother := active(sim, "/s/a"), active(sim, "/s"), active(sim, simulator.Other); ga != a || gs != s || gother != other {
			t.Errorf("%s: a %d s %d other %d, want %d %d %d", what, ga, gs, gother, a, s, other)
		}
	}
	work(t, dir, map[string]uint64{".": 2000, "s": 1100, "s/a": 900})
	step() // a worked 500, s itself 100, others 400
	expect("nested", 5000, 200, 400)

	if err := os.RemoveAll(filepath.Join(dir, "s/a")); err != nil {
		t.Fatal(err)
	}
	work(t, dir, map[string]uint64{".": 2100, "s": 1200})
	step() // what a did last is s's
	expect("gone", 5000, 400, 400)

	work(t, dir, map[string]uint64{".": 2200, "s": 1300, "s/a": 60})
	step() // another a worked 60
	expect("returned", 5600, 480, 400)

	work(t, dir, map[string]uint64{"s": 1400})
	step() // the parent's file lags by 100
	expect("lagging", 5600, 680, 400)
	work(t, dir, map[string]uint64{".": 2350})
	step() // 150 came, of which 100 were charged already
	expect("settled", 5600, 680, 450)

	work(t, dir, map[string]uint64{".": 10})
	step() // nonsense
	expect("back", 5600, 680, 450)

	if idle := sim.Truth().Sockets[0].Idle; idle != 6*5_000_000 {
		t.Errorf("idle %d after 6 s at 5 W", idle)
	}
}

func TestWithoutCgroups(t *testing.T) {
	proc := t.TempDir()
	stat := func(user int) {
		text := "cpu  " + strconv.Itoa(user) + " 1 2 500 0 3 4 9 0 0\ncpu0 1 1 1 1\n"
		if err := os.WriteFile(filepath.Join(proc, "stat"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stat(10)
	c := simulator.Config{Root: t.TempDir(), Cgroup: t.TempDir(), Procfs: proc, OtherWatts: 3}
	sim, err := simulator.New(c, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	stat(60)
	if err := sim.Step(time.Second); err != nil {
		t.Fatal(err)
	}
	if got := active(sim, simulator.Other); got != 1_500_000 {
		t.Errorf("half a second at 3 W is %d µJ", got)
	}
	for _, text := range []string{"", "intr 5\n", "cpu 1 2\n", "cpu a b c d e f g h\n"} {
		if err := os.WriteFile(filepath.Join(proc, "stat"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := sim.Step(2 * time.Second); err == nil || !strings.Contains(err.Error(), "how busy the machine is") {
			t.Errorf("%q: %v", text, err)
		}
		if err := sim.Run(t.Context(), time.Millisecond); err == nil {
			t.Errorf("%q: Run goes on", text)
		}
	}
	stat(160)
	if err := sim.Step(3 * time.Second); err != nil {
		t.Fatal(err)
	}
	if got := active(sim, simulator.Other); got != 4_500_000 {
		t.Errorf("the step after an error catches up to %d µJ", got)
	}
	if err := os.Remove(filepath.Join(proc, "stat")); err != nil {
		t.Fatal(err)
	}
	if _, err := simulator.New(c, 0); err == nil {
		t.Error("works without any source of work")
	}
	if err := sim.Run(t.Context(), 0); err == nil {
		t.Error("runs without a period")
	}
}

func TestConfigIsChecked(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct {
		config simulator.Config
		want   string
	}{
		{simulator.Config{}, "root: name a directory"},
		{simulator.Config{Root: root, RangeJoules: -1}, "range_joules: -1"},
		{simulator.Config{Root: root, StartJoules: 3e5}, "start_joules: 300000 is not below"},
		{simulator.Config{Root: root, Sockets: []simulator.Socket{{IdleWatts: -2}}}, "sockets[0].idle_watts: -2"},
		{simulator.Config{Root: root, Sockets: make([]simulator.Socket, 65)}, "65 are more than 64"},
		{simulator.Config{Root: root, Loads: []simulator.Load{{Cgroup: "/a[", Watts: 1}}}, `loads[0].cgroup: "/a["`},
		{simulator.Config{Root: root, Loads: []simulator.Load{{Cgroup: "/../x", Watts: 1}}}, `loads[0].cgroup: "/../x"`},
		{simulator.Config{Root: root, Loads: []simulator.Load{{Cgroup: "/a", Watts: 1, Socket: 1}}}, "there is no socket 1"},
		{simulator.Config{Root: root, OtherSocket: -1}, "other_socket: there is no socket -1"},
		{simulator.Config{Root: "/proc/self/x"}, "root: "},
	} {
		if _, err := simulator.New(c.config, 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.want)
		}
	}

	// Somebody else's tree is left alone; one's own is made anew.
	other := t.TempDir()
	if err := os.MkdirAll(filepath.Join(other, "class/powercap/intel-rapl:0"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := simulator.New(simulator.Config{Root: other}, 0); err == nil || !strings.Contains(err.Error(), "no simulator made it") {
		t.Error(err)
	}
	for range 2 {
		sim, err := simulator.New(simulator.Config{Root: root}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := simulator.New(simulator.Config{Root: root}, 0); err == nil || !strings.Contains(err.Error(), "another simulator drives") {
			t.Error(err)
		}
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	}
}
