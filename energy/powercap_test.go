package energy_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cam-os/edge/energy"
)

func TestRealMachines(t *testing.T) {
	for listing, want := range map[string]string{
		"xeon-2s.txtar": "package/0/simulated package/1/simulated dram/0/simulated dram/1/simulated",
		"amd.txtar":     "package/0/simulated core/0/simulated",
		"laptop.txtar":  "package/0/simulated core/0/simulated uncore/0/simulated psys/-1/simulated",
		"dies.txtar":    "package/0/simulated package/1/simulated dram/0/simulated dram/1/simulated psys/-1/simulated",
	} {
		t.Run(listing, func(t *testing.T) {
			m, missing := open(t, energy.Config{Sysfs: plant(t, listing)})
			if len(missing) > 0 {
				t.Errorf("missing %q", missing)
			}
			readings := m.Read(at(1))
			if got := zones(readings); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			for _, r := range readings {
				if r.Total != 0 || r.State != energy.Fresh || r.Faults != 0 || !strings.HasPrefix(r.Note, "simulated") {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

// The dies of a socket have a counter each; their zone is the sum.
func TestDiesAreSummed(t *testing.T) {
	root := plant(t, "dies.txtar")
	m, _ := open(t, energy.Config{Sysfs: root})
	m.Read(at(1))
	put(t, root, "intel-rapl:2", "energy_uj", "3000007\n")
	put(t, root, "intel-rapl:3", "energy_uj", "4000100\n")
	put(t, root, "intel-rapl:2:0", "energy_uj", "15001\n") // the other die's stands still
	readings := m.Read(at(2))
	if r := find(readings, energy.DRAM, 1); r.Total != 1 || r.State != energy.Fresh || r.Age != 0 {
		t.Errorf("dram of socket 1: %+v", r)
	}
	if r := find(readings, energy.Package, 1); r.Total != 107 || r.State != energy.Fresh {
		t.Errorf("socket 1: %+v", r)
	}
	if r := find(readings, energy.Package, 0); r.Total != 0 || r.State != energy.Stale || r.Age != time.Second {
		t.Errorf("socket 0: %+v", r)
	}
}

// One zone through everything that goes wrong, and what is said of it.
func TestFaults(t *testing.T) {
	root := t.TempDir()
	makeZone(t, root, "intel-rapl:0", "package-0", "64999000000", "65000000000\n")
	m, _ := open(t, energy.Config{Sysfs: root})
	file := filepath.Join(root, "class/powercap/intel-rapl:0/energy_uj")
	value := func(s string) func() {
		return func() { put(t, root, "intel-rapl:0", "energy_uj", s) }
	}
	nothing := func() {}
	for i, c := range []struct {
		what  string
		do    func()
		total energy.Microjoules
		state energy.State
		note  string
	}{
		{"first", nothing, 0, energy.Fresh, "simulated"},
		{"moves", value("64999000500\n"), 500, energy.Fresh, "simulated"},
		{"frozen", nothing, 500, energy.Stale, "simulated"},
		{"wraps", value("300\n"), 1_000_300, energy.Fresh, "simulated"},
		{"empty", value(""), 1_000_300, energy.Lost, "empty"},
		{"negative", value("-400\n"), 1_000_300, energy.Lost, "without sign"},
		{"text", value("no data\n"), 1_000_300, energy.Lost, "without sign"},
		{"huge", value(strings.Repeat("1", 1<<20)), 1_000_300, energy.Lost, "more than 64 bytes"},
		{"beyond 64 bits", value("99999999999999999999\n"), 1_000_300, energy.Lost, "does not fit"},
		{"beyond the range", value("65000000001\n"), 1_000_300, energy.Lost, "beyond max_energy_range_uj"},
		{"caught up", value("1300\n"), 1_001_300, energy.Fresh, "simulated"},
		{"jumps", value("60000000000\n"), 1_001_300, energy.Lost, "jumped further"},
		{"nothing lost", value("2300\n"), 1_002_300, energy.Fresh, "simulated"},
		{"steps back", value("2000\n"), 1_002_300, energy.Lost, "went back"},
		{"a glitch only", value("2301\n"), 1_002_301, energy.Fresh, "simulated"},
		{"goes back", value("1000\n"), 1_002_301, energy.Lost, "went back"},
		{"still", nothing, 1_002_301, energy.Lost, "went back"},
		{"reset", value("1500\n"), 1_002_801, energy.Fresh, "was reset"},
		{"vanishes", func() { removeZone(t, root, "intel-rapl:0") }, 1_002_801, energy.Lost, "gone"},
		{"still gone", nothing, 1_002_801, energy.Lost, "gone"},
		{"returns lower", func() { makeZone(t, root, "intel-rapl:3", "package-0", "7", "65000000000") }, 1_002_801, energy.Fresh, "came back with a lower counter"},
		{"goes on", func() { put(t, root, "intel-rapl:3", "energy_uj", "10") }, 1_002_804, energy.Fresh, "simulated"},
		{"tree gone", func() { removeZone(t, root, ".") }, 1_002_804, energy.Lost, "gone"},
		{"returns higher", func() { makeZone(t, root, "intel-rapl:0", "package-0", "15", "65000000000") }, 1_002_809, energy.Fresh, "simulated"},
		{"a FIFO", func() { _ = os.Remove(file); _ = syscall.Mkfifo(file, 0o600) }, 1_002_809, energy.Lost, "not a regular file"},
		{"a directory", func() { _ = os.Remove(file); _ = os.Mkdir(file, 0o700) }, 1_002_809, energy.Lost, "not a regular file"},
		{"no file", func() { _ = os.Remove(file) }, 1_002_809, energy.Lost, "gone"},
		{"file again", value("20"), 1_002_814, energy.Fresh, "simulated"},
	} {
		c.do()
		readings := m.Read(at(1 + i))
		if len(readings) != 1 {
			t.Fatalf("%s: %s", c.what, zones(readings))
		}
		r := readings[0]
		if r.Total != c.total || r.State != c.state || !strings.Contains(r.Note, c.note) {
			t.Errorf("%s: total %d state %d note %q, want %d %d %q", c.what, r.Total, r.State, r.Note, c.total, c.state, c.note)
		}
	}
	r := m.Read(at(100))[0]
	if r.Wraps != 1 || r.Resets != 2 || r.Faults == 0 {
		t.Errorf("wraps %d, resets %d, faults %d", r.Wraps, r.Resets, r.Faults)
	}
}

func TestNoRange(t *testing.T) {
	for _, span := range []string{"0\n", "", "x"} {
		root := t.TempDir()
		makeZone(t, root, "intel-rapl:0", "package-0", "5000", span)
		m, _ := open(t, energy.Config{Sysfs: root})
		m.Read(at(1))
		put(t, root, "intel-rapl:0", "energy_uj", "100")
		m.Read(at(2))
		put(t, root, "intel-rapl:0", "energy_uj", "130")
		if r := m.Read(at(3))[0]; r.Total != 30 || r.Resets != 1 || r.Wraps != 0 {
			t.Errorf("range %q: %+v", span, r)
		}
	}
}

// A counter that may have wrapped unseen is a lower bound, and says so.
func TestLongInterval(t *testing.T) {
	root := t.TempDir()
	makeZone(t, root, "intel-rapl:0", "package-0", "5000000000", "65000000000")
	m, _ := open(t, energy.Config{Sysfs: root})
	m.Read(at(1))
	put(t, root, "intel-rapl:0", "energy_uj", "6000000000")
	if r := m.Read(at(31))[0]; r.Faults != 0 {
		t.Errorf("30 s: %+v", r)
	}
	put(t, root, "intel-rapl:0", "energy_uj", "7000000000")
	r := m.Read(at(131))[0]
	if r.Total != 2_000_000_000 || r.Faults != 1 || !strings.Contains(r.Note, "lower bound") {
		t.Errorf("100 s: %+v", r)
	}
	// So long that a wrap is plausible; a step back by a hair is none still.
	put(t, root, "intel-rapl:0", "energy_uj", "6999999990")
	if r := m.Read(at(231))[0]; r.Total != 2_000_000_000 || r.Wraps != 0 || r.State != energy.Lost {
		t.Errorf("step back: %+v", r)
	}
	// Rated power bounds it better: 4 × 100 W need 162 s for the range.
	put(t, root, "intel-rapl:0", "energy_uj", "7000000000")
	put(t, root, "intel-rapl:0", "constraint_0_max_power_uw", "100000000")
	m, _ = open(t, energy.Config{Sysfs: root})
	m.Read(at(1))
	put(t, root, "intel-rapl:0", "energy_uj", "8000000000")
	if r := m.Read(at(101))[0]; r.Faults != 0 || r.Total != 1_000_000_000 {
		t.Errorf("rated: %+v", r)
	}
}

// A rating that the zone exceeds all the time is wrong, and must not blind the
// meter for ever.
func TestWrongRating(t *testing.T) {
	root := t.TempDir()
	makeZone(t, root, "intel-rapl:0", "package-0", "0", "65000000000")
	put(t, root, "intel-rapl:0", "constraint_0_max_power_uw", "1000000")
	m, _ := open(t, energy.Config{Sysfs: root})
	m.Read(at(0))
	var r energy.Reading
	for i := 1; i <= 12; i++ {
		put(t, root, "intel-rapl:0", "energy_uj", strconv.Itoa(i*3_000_000_000)) // 300 W
		r = m.Read(at(10 * i))[0]
	}
	if r.State != energy.Fresh || r.Total < 20_000_000_000 || r.Total > 36_000_000_000 {
		t.Errorf("%+v", r)
	}
}

// A zone made anew in the same place, near where its counter wraps: a lower
// value is a reset, although a wrap would be plausible.
func TestMadeAnew(t *testing.T) {
	root := t.TempDir()
	makeZone(t, root, "intel-rapl:0", "package-0", "64999999000", "65000000000")
	m, _ := open(t, energy.Config{Sysfs: root})
	m.Read(at(1))
	removeZone(t, root, "intel-rapl:0")
	makeZone(t, root, "intel-rapl:0", "package-0", "5", "65000000000")
	m.Read(at(2)) // its descriptor is of the old directory
	if r := m.Read(at(3))[0]; r.Total != 0 || r.Wraps != 0 || r.Resets != 1 || r.State != energy.Fresh {
		t.Errorf("%+v", r)
	}
}

// Many packages lose their counter in suspension: lower is no wrap then.
func TestSuspended(t *testing.T) {
	root := t.TempDir()
	makeZone(t, root, "intel-rapl:0", "package-0", "50000000000", "65000000000")
	m, _ := open(t, energy.Config{Sysfs: root})
	m.Read(at(1))
	put(t, root, "intel-rapl:0", "energy_uj", "1000")
	a := at(8 * 3600)
	a.Suspended = 8*time.Hour - 10*time.Second
	if r := m.Read(a)[0]; r.Total != 0 || r.Resets != 1 || r.Wraps != 0 || r.State != energy.Fresh {
		t.Errorf("%+v", r)
	}
}

// The kernel's own sysfs is never simulated, with RAPL or without.
func TestSource(t *testing.T) {
	m, missing := open(t, energy.Config{Sysfs: "/sys"})
	a := at(1)
	a.Busy, a.CPUs, a.Packages = []time.Duration{0}, []int{1}, []int{0}
	for _, r := range m.Read(a) {
		if r.Zone.Source == energy.Simulated {
			t.Errorf("/sys is not simulated: %+v", r)
		}
		if r.Zone.Source == energy.Model && len(missing) == 0 {
			t.Error("a model stands in, and nothing is said to be missing")
		}
	}
}

func TestMissing(t *testing.T) {
	a := energy.Activity{At: time.Second, Busy: []time.Duration{0}, CPUs: []int{2}, Packages: []int{0}}
	expect := func(root, want string) energy.Meter {
		t.Helper()
		m, missing := open(t, energy.Config{Sysfs: root})
		if len(missing) != 1 || !strings.Contains(missing[0], want) {
			t.Errorf("missing %q, want %q", missing, want)
		}
		if got := zones(m.Read(a)); got != "package/0/model" {
			t.Errorf("%s: %s", want, got)
		}
		return m
	}
	expect(filepath.Join(t.TempDir(), "none"), "mount sysfs")
	expect(t.TempDir(), "load the module intel_rapl_msr")
	guest := machineFiles(t, "processor : 0\nflags : fpu hypervisor\n", "")
	if _, missing := open(t, guest); len(missing) != 1 || !strings.Contains(missing[0], "this virtual machine has no power meter") {
		t.Errorf("missing %q", missing)
	}
	empty := t.TempDir()
	if err := os.MkdirAll(filepath.Join(empty, "class/powercap/intel-rapl"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := expect(empty, "class/powercap is empty")

	// Hot-plugged: the model steps back, and nothing is counted twice.
	a.At = 5 * time.Second
	before := m.Read(a)[0].Total
	makeZone(t, empty, "intel-rapl:0", "package-0", "100", "65000000000")
	a.At = 12 * time.Second
	readings := m.Read(a)
	if got := zones(readings); got != "package/0/model package/0/simulated" {
		t.Fatal(got)
	}
	if r := readings[0]; r.Total != before || r.State != energy.Stale || !strings.Contains(r.Note, "superseded by simulated") {
		t.Errorf("%+v", r)
	}

	// Unreadable as the kernel makes it since CVE-2020-8694. Root reads on, so
	// this is seen as an ordinary user only.
	locked := t.TempDir()
	makeZone(t, locked, "intel-rapl:0", "package-0", "100", "65000000000")
	file := filepath.Join(locked, "class/powercap/intel-rapl:0/energy_uj")
	if err := os.Chmod(file, 0); err != nil {
		t.Fatal(err)
	}
	asOrdinaryUser(t, locked, func() { expect(locked, "CAP_DAC_READ_SEARCH") })

	broken := t.TempDir()
	makeZone(t, broken, "intel-rapl:0", "package-0", "", "65000000000")
	expect(broken, "the file is empty")
}

// The error is about the configuration only.
func TestConfig(t *testing.T) {
	for _, c := range []struct {
		config energy.Config
		want   string
	}{
		{energy.Config{IdleWatts: -1}, "idle watts is -1"},
		{energy.Config{MaxWatts: 1e9}, "max watts is 1e+09"},
		{energy.Config{IdleWatts: 5, MaxWatts: 4}, "idle watts are above max watts"},
	} {
		if _, _, err := energy.Open(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.config, err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	m, _ := open(b, energy.Config{Sysfs: plant(b, "xeon-2s.txtar")})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Read(at(i))
	}
}
