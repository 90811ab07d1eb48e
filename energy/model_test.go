package energy_test

import (
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/energy"
	"pgregory.net/rapid"
)

// machineFiles makes a procfs with a cpuinfo, and a sysfs with a board.
func machineFiles(t *testing.T, cpuinfo, board string) energy.Config {
	t.Helper()
	c := energy.Config{Sysfs: t.TempDir(), Procfs: t.TempDir()}
	if err := os.WriteFile(filepath.Join(c.Procfs, "cpuinfo"), []byte(cpuinfo), 0o644); err != nil {
		t.Fatal(err)
	}
	if board != "" {
		dir := filepath.Join(c.Sysfs, "firmware/devicetree/base")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "model"), []byte(board+"\x00"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// endpoints are the power of package 0 when nothing, and when all, runs.
func endpoints(t *testing.T, c energy.Config, cpus ...int) (idle, full energy.Microjoules, r energy.Reading) {
	t.Helper()
	m, _ := open(t, c)
	a := energy.Activity{CPUs: cpus}
	for i := range cpus {
		a.Packages = append(a.Packages, i)
	}
	look := func(at, busy time.Duration) energy.Reading {
		a.At, a.Busy = at, make([]time.Duration, len(cpus))
		for i := range cpus {
			a.Busy[i] = busy * time.Duration(cpus[i])
		}
		return find(m.Read(a), energy.Package, 0)
	}
	look(0, 0)
	idle = look(time.Second, 0).Total
	r = look(2*time.Second, time.Second)
	return idle, r.Total - idle, r
}

func TestProcessors(t *testing.T) {
	for _, c := range []struct {
		model, flags, board string
		cpus                []int
		idle, full          float64
		err                 float64
		note                string
	}{
		{model: "Intel(R) N100", cpus: []int{4}, idle: 1, full: 6, err: 0.5, note: "table entry for Intel(R) N100"},
		{model: "Intel(R) Atom(TM) CPU C3558 @ 2.20GHz", cpus: []int{4}, idle: 5, full: 32, err: 0.5},
		{model: "Intel(R) Celeron(R) J4125 CPU @ 2.00GHz", cpus: []int{4}, idle: 1.5, full: 10, err: 0.5},
		{model: "11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", cpus: []int{8}, idle: 2.5, full: 28, err: 0.5},
		{model: "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz", cpus: []int{8}, idle: 2, full: 15, err: 0.5},
		{model: "13th Gen Intel(R) Core(TM) i9-13900K", cpus: []int{32}, idle: 10, full: 125, err: 0.5},
		{model: "Intel(R) Core(TM) i5-6500T CPU @ 2.50GHz", cpus: []int{4}, idle: 4, full: 35, err: 0.5},
		{model: "Intel(R) Core(TM) i7-3770 CPU @ 3.40GHz", cpus: []int{8}, idle: 7, full: 65, err: 0.5},
		{model: "Intel(R) Core(TM) Ultra 7 155H", cpus: []int{22}, idle: 4, full: 45, err: 0.5},
		{model: "Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz", cpus: []int{40, 40}, idle: 45, full: 165, err: 0.5},
		{model: "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", cpus: []int{28}, idle: 30, full: 130, err: 0.5},
		{model: "Intel(R) Xeon(R) D-2146NT CPU @ 2.30GHz", cpus: []int{16}, idle: 15, full: 65, err: 0.5},
		{model: "AMD EPYC 7763 64-Core Processor", cpus: []int{128}, idle: 65, full: 225, err: 0.5},
		{model: "AMD EPYC 9654 96-Core Processor", cpus: []int{192}, idle: 95, full: 360, err: 0.5},
		{model: "AMD Ryzen 7 5800X 8-Core Processor", cpus: []int{16}, idle: 22, full: 120, err: 0.5},
		{model: "AMD Ryzen 7 PRO 6850U with Radeon Graphics", cpus: []int{16}, idle: 2.5, full: 22, err: 0.5},
		{model: "AMD Ryzen Embedded V1605B with Radeon Vega Gfx", cpus: []int{8}, idle: 3, full: 25, err: 0.5},
		// A guest of two CPUs is charged 2/128 of its host.
		{model: "AMD EPYC", flags: "fpu hypervisor sse", cpus: []int{2}, idle: 70. / 64, full: 280. / 64, err: 1, note: "virtual"},
		{model: "AMD EPYC", flags: "fpu hypervisor sse", cpus: []int{500}, idle: 70, full: 280, err: 1},
		{model: "Zhaoxin KX-7000", cpus: []int{8}, idle: 4.8, full: 32, err: 1, note: "a guess"},
		{board: "Raspberry Pi 4 Model B Rev 1.4", cpus: []int{4}, idle: 2.7, full: 6.4, err: 0.5, note: "whole board"},
		{board: "Raspberry Pi 5 Model B Rev 1.0", cpus: []int{4}, idle: 2.7, full: 8, err: 0.5},
		{board: "NVIDIA Jetson Orin Nano Developer Kit", cpus: []int{6}, idle: 4, full: 15, err: 0.5},
		// Clusters that call themselves packages share the board.
		{board: "NVIDIA Jetson AGX Orin", cpus: []int{4, 4, 4}, idle: 3, full: 50. / 3, err: 0.5},
	} {
		name := c.model + c.board
		cpuinfo := "processor\t: 0\nvendor_id\t: x\nmodel name\t: " + c.model + "\nflags\t\t: " + c.flags + "\n"
		if c.model == "" {
			cpuinfo = "processor\t: 0\nCPU implementer\t: 0x41\n"
		}
		idle, full, r := endpoints(t, machineFiles(t, cpuinfo, c.board), c.cpus...)
		close := func(got energy.Microjoules, want float64) bool {
			return got.Joules()-want < 1e-5 && want-got.Joules() < 1e-5
		}
		if !close(idle, c.idle) || !close(full, c.full) || r.Error != c.err || !strings.Contains(r.Note, c.note) {
			t.Errorf("%s: %v to %v W, error %v, note %q; want %v to %v, %v, %q", name, idle.Joules(), full.Joules(), r.Error, r.Note, c.idle, c.full, c.err, c.note)
		}
		if r.Zone.Source != energy.Model {
			t.Errorf("%s: %+v", name, r.Zone)
		}
	}
}

func TestConfiguredModel(t *testing.T) {
	n100 := "processor : 0\nmodel name : Intel(R) N100\n"
	for _, c := range []struct {
		idle, max          float64
		wantIdle, wantFull float64
		err                float64
		note               string
	}{
		{2, 9, 2, 9, 0.3, "2 to 9 W a package, configured"},
		{0, 12, 2, 12, 0.5, "one configured"},
		{3, 0, 3, 18, 0.5, "one configured"},
	} {
		config := machineFiles(t, n100, "")
		config.IdleWatts, config.MaxWatts = c.idle, c.max
		idle, full, r := endpoints(t, config, 4)
		if idle.Joules() != c.wantIdle || full.Joules() != c.wantFull || r.Error != c.err || !strings.Contains(r.Note, c.note) {
			t.Errorf("%v to %v: %v to %v, %+v", c.idle, c.max, idle.Joules(), full.Joules(), r)
		}
	}
}

// However the time is cut up, the energy is that of the whole, to the
// microjoule of each of the two terms.
func TestModelDoesNotDrift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		idle := rapid.Float64Range(0.001, 100).Draw(t, "idle")
		most := idle + rapid.Float64Range(0, 300).Draw(t, "range")
		cpus := rapid.IntRange(1, 256).Draw(t, "cpus")
		m, _, err := energy.Open(energy.Config{Sysfs: "testdata/none", Procfs: "testdata/none", IdleWatts: idle, MaxWatts: most})
		if err != nil {
			t.Fatal(err)
		}
		a := energy.Activity{At: time.Hour, Busy: []time.Duration{time.Minute}, CPUs: []int{cpus}, Packages: []int{7}}
		start := a
		start.Busy = []time.Duration{time.Minute}
		last := m.Read(a)[0]
		for range rapid.IntRange(1, 200).Draw(t, "intervals") {
			d := time.Duration(rapid.Int64Range(1, int64(2*time.Second)).Draw(t, "elapsed"))
			a.At += d
			a.Busy = []time.Duration{a.Busy[0] + time.Duration(rapid.Int64Range(0, int64(d)*int64(cpus)).Draw(t, "busy"))}
			r := m.Read(a)[0]
			if r.Total < last.Total || r.Faults != 0 || r.Zone.Socket != 7 {
				t.Fatalf("%+v after %+v", r, last)
			}
			last = r
		}
		micro := func(w float64) *big.Int { return big.NewInt(int64(w*1e6 + 0.5)) }
		idlePart := new(big.Int).Mul(micro(idle), big.NewInt(int64(a.At-start.At)))
		idlePart.Div(idlePart, big.NewInt(1e9))
		busyPart := new(big.Int).Sub(micro(most), micro(idle))
		busyPart.Mul(busyPart, big.NewInt(int64(a.Busy[0]-start.Busy[0])))
		busyPart.Div(busyPart, big.NewInt(1e9*int64(cpus)))
		want := idlePart.Add(idlePart, busyPart).Uint64()
		if uint64(last.Total) != want {
			t.Fatalf("total %d, want %d", last.Total, want)
		}
	})
}

func TestModelOfOddMachines(t *testing.T) {
	m, _ := open(t, energy.Config{Sysfs: t.TempDir(), IdleWatts: 10, MaxWatts: 30})
	read := func(a energy.Activity) energy.Reading { return find(m.Read(a), energy.Package, 0) }
	s := time.Second
	a := energy.Activity{At: s, Busy: []time.Duration{s}, CPUs: []int{4}}
	expect := func(what string, total energy.Microjoules, state energy.State, faults uint64) {
		t.Helper()
		if r := read(a); r.Total != total || r.State != state || r.Faults != faults {
			t.Errorf("%s: %+v, want %d, state %d, faults %d", what, r, total, state, faults)
		}
	}
	expect("first", 0, energy.Fresh, 0)
	a.At = 2 * s
	expect("idle", 10_000_000, energy.Fresh, 0)
	a.At, a.Busy = 3*s, []time.Duration{100 * s}
	expect("busier than there are CPUs", 40_000_000, energy.Fresh, 0)
	a.At, a.Suspended = 3603*s, 3599*s
	expect("suspended for an hour", 50_000_000, energy.Fresh, 0)
	a.At, a.Suspended = 3613*s, 3600*s
	expect("a second of ten", 140_000_000, energy.Fresh, 0)
	a.At, a.CPUs, a.Busy = 3614*s, []int{2}, []time.Duration{101 * s}
	expect("CPUs unplugged", 160_000_000, energy.Fresh, 0)
	a.At, a.Busy = 3615*s, []time.Duration{50 * s}
	expect("busy went back", 170_000_000, energy.Fresh, 1)
	a.At = 3000 * s
	expect("time went back", 170_000_000, energy.Fresh, 2)
	a.At, a.CPUs = 3616*s, []int{0}
	expect("no CPU left", 180_000_000, energy.Fresh, 2)
	a.At, a.CPUs, a.Busy = 3620*s, nil, nil
	expect("package gone", 180_000_000, energy.Lost, 2)
	a.At, a.CPUs, a.Busy = 3621*s, []int{2}, []time.Duration{50 * s}
	if r := read(a); r.Total < 180_000_000 || r.Total > 230_000_000 || r.State != energy.Fresh {
		t.Errorf("returned: %+v", r)
	}
}

func TestUnits(t *testing.T) {
	if got := energy.Microwatts(1_500_000).Over(2500 * time.Millisecond); got != 3_750_000 {
		t.Errorf("1.5 W for 2.5 s is %d µJ", got)
	}
	if got := energy.Microwatts(5).Over(-time.Second); got != 0 {
		t.Errorf("a negative time gives %d µJ", got)
	}
	if energy.Microjoules(2_500_000).Joules() != 2.5 || energy.Microwatts(500_000).Watts() != 0.5 {
		t.Error("conversion")
	}
}
