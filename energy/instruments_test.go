package energy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/energy"
)

// plain makes a hwmon device as directories, on a device named base.
func plain(t testing.TB, root string, n int, chip, base string, files map[string]string) {
	t.Helper()
	dir := fmt.Sprintf("class/hwmon/hwmon%d", n)
	if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "devices", base, "power"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(root, dir, "device")
	if err := os.Symlink("../../../devices/"+base, link); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	set(t, root, dir+"/name", chip)
	for name, text := range files {
		set(t, root, dir+"/"+name, text)
	}
}

func supply(t testing.TB, root, name string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "class/power_supply", name), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range files {
		set(t, root, filepath.Join("class/power_supply", name, file), text)
	}
}

func remove(t testing.TB, root, dir string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
		t.Fatal(err)
	}
}

// One gauge of a GPU through all that goes wrong: nothing jumps, nothing goes
// back, each fault is counted, and what is wrong is said.
func TestGaugeFaults(t *testing.T) {
	root := t.TempDir()
	const dir, gpu = "class/hwmon/hwmon0/", "0000:03:00.0"
	make := func(n int, power string) func() {
		return func() { plain(t, root, n, "amdgpu", gpu, map[string]string{"power1_average": power}) }
	}
	make(0, "10000000")()
	m, missing := open(t, energy.Config{Sysfs: root})
	if len(missing) != 1 {
		t.Errorf("missing %q", missing)
	}
	show := func(text string) func() { return func() { set(t, root, dir+"power1_average", text) } }
	nothing := func() {}
	now := 0
	for _, c := range []struct {
		what   string
		do     func()
		joules float64
		state  energy.State
		faults uint64
		note   string
	}{
		{"first", nothing, 0, energy.Fresh, 0, "simulated"},
		{"steady", nothing, 10, energy.Fresh, 0, ""},
		{"up", show("30000000"), 30, energy.Fresh, 0, ""},
		{"off", show("0"), 45, energy.Fresh, 0, ""},
		{"still off", nothing, 45, energy.Fresh, 0, ""},
		{"on", show("10000000"), 50, energy.Fresh, 0, ""},
		{"negative", show("-10000000"), 50, energy.Lost, 1, "is negative"},
		{"text", show("N/A"), 50, energy.Lost, 2, "not a whole number"},
		{"no number", show("NaN"), 50, energy.Lost, 3, "not a whole number"},
		{"a fraction", show("1e7"), 50, energy.Lost, 4, "not a whole number"},
		{"an error code", show("4294967274"), 50, energy.Lost, 5, "error code"},
		{"absurd", show("9000000000000"), 50, energy.Lost, 6, "more power than the zone can draw"},
		{"beyond 64 bits", show("99999999999999999999"), 50, energy.Lost, 7, "not a whole number"},
		{"empty", func() { _ = os.Truncate(filepath.Join(root, dir, "power1_average"), 0) }, 50, energy.Lost, 8, "empty"},
		{"long", show(strings.Repeat("1", 500)), 50, energy.Lost, 9, "more than 64 bytes"},
		{"back: bridged", show("10000000"), 150, energy.Fresh, 9, ""},
		{"jumps", show("400000000"), 150, energy.Lost, 10, "jumped"},
		{"it was wrong", show("10000000"), 170, energy.Fresh, 10, ""},
		{"jumps again", show("400000000"), 170, energy.Lost, 11, "jumped"},
		{"and stays", show("420000000"), 785, energy.Fresh, 11, ""},
		{"down at once", show("10000000"), 1000, energy.Fresh, 11, ""},
		{"vanishes", func() { remove(t, root, "class/hwmon/hwmon0") }, 1000, energy.Lost, 12, "gone"},
		{"still gone", nothing, 1000, energy.Lost, 13, "gone"},
		{"returns", make(4, "20000000"), 1000, energy.Lost, 14, "gone"},
	} {
		c.do()
		now++
		r := m.Read(at(now))
		if len(r) != 1 || r[0].Zone.Name != "gpu-03-00-0" {
			t.Fatalf("%s: %s", c.what, zones(r))
		}
		if r[0].Total.Joules() != c.joules || r[0].State != c.state || r[0].Faults != c.faults || !strings.Contains(r[0].Note, c.note) {
			t.Errorf("%s: %+v, want %v J, state %d, %d faults, %q", c.what, r[0], c.joules, c.state, c.faults, c.note)
		}
		if c.state == energy.Fresh && r[0].Age != 0 {
			t.Errorf("%s: age %v", c.what, r[0].Age)
		}
	}
	// Found again by the next scan, under another number; nothing is counted
	// for the time that it was away.
	now += 20
	if r := m.Read(at(now))[0]; r.Total.Joules() != 1000 || r.State != energy.Fresh {
		t.Errorf("returned: %+v", r)
	}
	if r := m.Read(at(now + 1))[0]; r.Total.Joules() != 1020 || r.State != energy.Fresh {
		t.Errorf("goes on: %+v", r)
	}
	// Far too long without a look.
	if r := m.Read(at(now + 4000))[0]; r.Total.Joules() != 1020 || !strings.Contains(r.Note, "too long without") {
		t.Errorf("after an hour: %+v", r)
	}
	_ = m.Close()
	if r := m.Read(at(now + 4001))[0]; r.Total.Joules() != 1020 || r.State != energy.Lost {
		t.Errorf("closed: %+v", r)
	}
}

// A GPU's energy counter: it is reset, vanishes and comes back lower.
func TestGPUIsReset(t *testing.T) {
	root := t.TempDir()
	plain(t, root, 0, "xe", "0000:03:00.0", map[string]string{
		"energy1_input": "5000000000", "energy1_label": "card", "energy2_input": "7000000", "energy2_label": "pkg", "power1_rated_max": "150000000",
	})
	m, _ := open(t, energy.Config{Sysfs: root})
	card := func(s int, value string) energy.Reading {
		set(t, root, "class/hwmon/hwmon0/energy1_input", value)
		return find(m.Read(at(s)), "gpu-03-00-0-card", energy.AllSockets)
	}
	card(1, "5000000000")
	for i, c := range []struct {
		value  string
		joules float64
		resets uint64
		state  energy.State
	}{
		{"5100000000", 100, 0, energy.Fresh},
		{"5100000000", 100, 0, energy.Stale},
		{"3000", 100, 0, energy.Lost}, // doubted
		{"50003000", 150, 1, energy.Fresh},
		{"9900000000000", 150, 1, energy.Lost}, // a jump, refuted
		{"100003000", 200, 1, energy.Fresh},
		{"-1", 200, 1, energy.Lost},
		{"4294967201", 200, 1, energy.Lost}, // -EFAULT or so
		{"150003000", 250, 1, energy.Fresh},
	} {
		r := card(2+i, c.value)
		if r.Total.Joules() != c.joules || r.Resets != c.resets || r.State != c.state || r.Weighing != energy.NoWeighing {
			t.Errorf("%d %s: %+v", i, c.value, r)
		}
	}
	remove(t, root, "class/hwmon/hwmon0")
	if r := find(m.Read(at(20)), "gpu-03-00-0-card", energy.AllSockets); r.Total.Joules() != 250 || r.State != energy.Lost {
		t.Errorf("gone: %+v", r)
	}
	plain(t, root, 7, "xe", "0000:03:00.0", map[string]string{"energy1_input": "70", "energy1_label": "card"})
	if r := find(m.Read(at(40)), "gpu-03-00-0-card", energy.AllSockets); r.Total.Joules() != 250 || r.Resets != 2 || r.State != energy.Fresh {
		t.Errorf("back: %+v", r)
	}
	set(t, root, "class/hwmon/hwmon7/energy1_input", "1000070")
	if r := find(m.Read(at(41)), "gpu-03-00-0-card", energy.AllSockets); r.Total.Joules() != 251 {
		t.Errorf("goes on: %+v", r)
	}
}

// A GPU that sleeps is not woken, and one that would like to is left alone.
func TestSleepingGPU(t *testing.T) {
	root := t.TempDir()
	const gpu = "0000:03:00.0"
	plain(t, root, 0, "amdgpu", gpu, map[string]string{"power1_input": "8000000"})
	for file, text := range map[string]string{"control": "auto", "runtime_status": "active", "autosuspend_delay_ms": "5000"} {
		set(t, root, "devices/"+gpu+"/power/"+file, text)
	}
	m, _ := open(t, energy.Config{Sysfs: root})
	for s := 1; s <= 31; s++ {
		m.Read(at(s))
		if s == 1 {
			set(t, root, "class/hwmon/hwmon0/power1_input", "10000000")
		}
	}
	if r := m.Read(at(32))[0]; r.Total.Joules() != 90+100+100 || r.State != energy.Fresh || r.Faults != 0 {
		t.Errorf("awake: %+v", r)
	}
	// Reading would wake it: the file is not touched.
	set(t, root, "devices/"+gpu+"/power/runtime_status", "suspended")
	fifo(t, root, "class/hwmon/hwmon0/power1_input")
	for s := 33; s <= 90; s++ {
		m.Read(at(s))
	}
	if r := m.Read(at(91))[0]; r.Total.Joules() != 290 || r.State != energy.Stale || r.Faults != 0 || !strings.Contains(r.Note, "sleeps") {
		t.Errorf("asleep: %+v", r)
	}
	set(t, root, "devices/"+gpu+"/power/runtime_status", "active")
	remove(t, root, "class/hwmon/hwmon0/power1_input")
	set(t, root, "class/hwmon/hwmon0/power1_input", "10000000")
	m.Read(at(92))
	if r := m.Read(at(102))[0]; r.Total.Joules() != 390 || r.State != energy.Fresh {
		t.Errorf("awake again: %+v", r)
	}
}

// A battery counts while it discharges, and only then.
func TestBattery(t *testing.T) {
	root := t.TempDir()
	supply(t, root, "BAT0", map[string]string{"type": "Battery", "status": "Full", "current_now": "0", "voltage_now": "12000000"})
	supply(t, root, "AC", map[string]string{"type": "Mains", "online": "1"})
	supply(t, root, "usb", map[string]string{"type": "USB", "online": "1", "power_now": "15000000"})
	supply(t, root, "mouse", map[string]string{"type": "Battery", "scope": "Device", "status": "Discharging", "power_now": "5"})
	supply(t, root, "dram", map[string]string{"type": "Mains", "power_now": "7000000"})
	supply(t, root, "odd", map[string]string{"type": "Battery", "status": "Discharging"})
	m, _ := open(t, energy.Config{Sysfs: root})
	if got := zones(m.Read(at(1))); got != "bat0/-1/simulated rail-dram/-1/simulated usb/-1/simulated" {
		t.Error(got)
	}
	for i, c := range []struct {
		status, current string
		joules          float64
		state           energy.State
		note            string
	}{
		{"Full", "0", 0, energy.Stale, `status is "Full"`},
		{"Discharging", "1000000", 0, energy.Fresh, ""},
		{"Discharging", "1000000", 12, energy.Fresh, ""},
		{"Discharging", "-2000000", 30, energy.Fresh, ""}, // the sign is the driver's taste
		{"Charging", "3000000", 30, energy.Stale, "nothing is counted"},
		{"Not charging", "3000000", 30, energy.Stale, "nothing is counted"},
		{"Unknown", "3000000", 30, energy.Stale, "nothing is counted"},
		{"Discharging", "1000000", 30, energy.Fresh, ""},
		{"gibberish", "1000000", 30, energy.Lost, "gibberish"},
		{"", "1000000", 30, energy.Lost, ""},
		{"Discharging", "x", 30, energy.Lost, "not a whole number"},
		{"Discharging", "9223372036854775807", 30, energy.Lost, "does not fit"},
		{"Discharging", "1000000", 90, energy.Fresh, ""},
	} {
		set(t, root, "class/power_supply/BAT0/status", c.status)
		set(t, root, "class/power_supply/BAT0/current_now", c.current)
		r := find(m.Read(at(2+i)), "bat0", energy.AllSockets)
		if r.Total.Joules() != c.joules || r.State != c.state || !strings.Contains(r.Note, c.note) {
			t.Errorf("%d %s %s: %+v", i, c.status, c.current, r)
		}
	}
	remove(t, root, "class/power_supply/BAT0/voltage_now")
	if r := find(m.Read(at(15)), "bat0", energy.AllSockets); r.State != energy.Lost || r.Total.Joules() != 90 {
		t.Errorf("%+v", r)
	}
	set(t, root, "class/power_supply/usb/online", "0")
	if r := find(m.Read(at(16)), "usb", energy.AllSockets); r.State != energy.Stale || !strings.Contains(r.Note, "plugged") || r.Total.Joules() != 15*14 {
		t.Errorf("%+v", r)
	}
}

// Rails: labels that are wild, alike, or those of a processor's zones.
func TestRailNames(t *testing.T) {
	root := t.TempDir()
	rail := func(n int, base, label string) {
		plain(t, root, n, "ina3221", base, map[string]string{
			"in1_input": "5000", "curr1_input": "100", "in1_label": label,
			"in2_input": "5000", "curr2_input": "100", "in2_label": "NC",
			"in3_input": "5000", "curr3_input": "100", "in3_label": "off", "in3_enable": "0",
			"in4_input": "100", "curr4_input": "100",
		})
	}
	rail(0, "1-0041", "VDD  5V\t(main)")
	rail(1, "1-0040", "VDD  5V\t(main)")
	rail(2, "1-0042", "package")
	rail(3, "1-0043", "\xff\x00../../etc")
	rail(4, "1-0044", "")
	rail(5, "1-0045", strings.Repeat("v", 64)[:63])
	rail(6, "1-0046", "CPU")
	plain(t, root, 8, "ina226", "1-0050", map[string]string{"power1_input": "1", "in1_input": "1", "curr1_input": "1", "power2_input": "1"})
	plain(t, root, 9, "i915_gt0", "0000:00:02.0", map[string]string{"energy1_input": "1"})
	plain(t, root, 10, "corsair", "0003:1B1C", map[string]string{"power1_input": "90000000", "power1_label": "power total", "power01_input": "1", "powerx_input": "1"})
	m, _ := open(t, energy.Config{Sysfs: root, Ignore: []string{"vvv*"}})
	var got []string
	for _, r := range m.Read(at(1)) {
		got = append(got, r.Zone.Name+":"+string(r.Weighing))
		if len(r.Zone.Name) > 63 || strings.Trim(r.Zone.Name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			t.Errorf("%q", r.Zone.Name)
		}
	}
	want := "cpu:cpu_time etc:none gpu-00-02-0-gt0:none ina226-1-0050:none ina226-1-0050-power2:none ina3221-1-0044:none " +
		"power-total:cpu_time rail-package:none vdd-5v-main:none vdd-5v-main-1-0041:none"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	// The names stay when the numbers change.
	remove(t, root, "class/hwmon/hwmon1")
	m.Read(at(2))
	rail(12, "1-0040", "VDD  5V\t(main)")
	r := m.Read(at(30))
	if r := find(r, "vdd-5v-main", energy.AllSockets); r.State != energy.Fresh {
		t.Errorf("%+v", r)
	}
	if len(r) != len(got) {
		t.Error(zones(r))
	}
}

// Where powercap comes to show a package that hwmon counted, hwmon's stops.
func TestSuperseded(t *testing.T) {
	root := plant(t, "epyc.txtar")
	m, _ := open(t, energy.Config{Sysfs: root})
	m.Read(at(1))
	set(t, root, "class/hwmon/hwmon3/energy5_input", "987664321000")
	if r := find(m.Read(at(2)), "package", 0); r.Total != 10*joule {
		t.Errorf("%+v", r)
	}
	makeZone(t, root, "intel-rapl:0", "package-0", "5000000", "65532610987")
	m.Read(at(13))
	put(t, root, "intel-rapl:0", "energy_uj", "7000000")
	set(t, root, "class/hwmon/hwmon3/energy5_input", "987666321000")
	// Both are simulated, so one zone: what was counted stays in it.
	readings := m.Read(at(14))
	if r := find(readings, "package", 0); r.Total != 12*joule || len(readings) != 2 {
		t.Errorf("%s %+v", zones(readings), r)
	}
}

func TestFilterIsChecked(t *testing.T) {
	for _, c := range []energy.Config{{Ignore: []string{"["}}, {Board: []string{""}}} {
		if _, _, err := energy.Open(c); err == nil || !strings.Contains(err.Error(), "is no pattern") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	// A meter that is left out: the model takes over.
	root := plant(t, "laptop.txtar")
	m, missing := open(t, energy.Config{Sysfs: root, Ignore: []string{"package", "psys"}})
	a := at(1)
	a.Busy, a.CPUs, a.Packages = []time.Duration{0}, []int{4}, []int{0}
	if got := zones(m.Read(a)); got != "package/0/model core/0/simulated uncore/0/simulated" || len(missing) != 0 {
		t.Error(got, missing)
	}
}

// FIFOs in place of anything that is read hold nothing up.
func TestInstrumentFIFOs(t *testing.T) {
	for _, file := range []string{
		"class/hwmon", "class/power_supply", "bus/pci/devices", "class/hwmon/hwmon2", "class/hwmon/hwmon2/name",
		"class/hwmon/hwmon2/power1_average", "class/hwmon/hwmon2/power1_label", "class/hwmon/hwmon2/power1_cap_max",
		"bus/event_source/devices/power/type", "class/hwmon/hwmon2/device/power/runtime_status",
	} {
		root := plant(t, "amd-desktop.txtar")
		returns(t, func() {
			m, _ := open(t, energy.Config{Sysfs: root})
			m.Read(at(1))
			fifo(t, root, file)
			for _, s := range []int{2, 3, 20} {
				if r := find(m.Read(at(s)), "package", 0); r.State == energy.Lost {
					t.Errorf("%s: %+v", file, r)
				}
			}
		})
		returns(t, func() {
			m, _ := open(t, energy.Config{Sysfs: root})
			m.Read(at(1))
		})
	}
}

// More sensors than a machine has: a bounded number is read.
func TestTooManySensors(t *testing.T) {
	root := t.TempDir()
	for n := range 3 {
		files := map[string]string{}
		for i := range 200 {
			files[fmt.Sprintf("power%d_input", i+1)] = "5"
		}
		plain(t, root, n, "many", fmt.Sprintf("dev%d", n), files)
	}
	m, missing := open(t, energy.Config{Sysfs: root})
	if len(missing) != 2 || !strings.Contains(strings.Join(missing, " "), "344 sensors beyond the first 256 are not read") {
		t.Errorf("missing %q", missing)
	}
	if n := len(m.Read(at(1))); n != 256 {
		t.Errorf("%d zones", n)
	}
}

// What cannot be read is named with a remedy.
func TestUnreadableSensor(t *testing.T) {
	root := t.TempDir()
	plain(t, root, 0, "amd_energy", "amd_energy.0", map[string]string{"energy1_input": "5", "energy1_label": "Esocket0"})
	if err := os.Chmod(filepath.Join(root, "class/hwmon/hwmon0/energy1_input"), 0o400); err != nil {
		t.Fatal(err)
	}
	asOrdinaryUser(t, root, func() {
		if os.Geteuid() == 0 {
			_, missing, err := energy.Open(energy.Config{Sysfs: root, Procfs: "testdata/none"})
			if err != nil || !strings.Contains(strings.Join(missing, " "), "may not be read: run as root") {
				t.Errorf("missing %q, %v", missing, err)
			}
		}
	})
}

// Whatever a device prints, zones have proper names, nothing goes back, and
// what is refused is counted.
func FuzzSensors(f *testing.F) {
	f.Add("ina3221", "VDD_IN", "5000", "100", "Discharging")
	f.Add("amdgpu", "PPT", "4294967274", "-5", "Charging")
	f.Add("amd_energy", "Esocket1", "99999999999999999999", "", "\x00")
	f.Add("xe", "pkg", "NaN", "0x10", "Full")
	f.Fuzz(func(t *testing.T, chip, label, one, two, status string) {
		root := t.TempDir()
		plain(t, root, 0, chip, "dev0", map[string]string{
			"energy1_input": one, "energy1_label": label, "power1_input": two, "power1_label": "p" + label,
			"power2_average": one, "power2_cap_max": two, "in1_input": one, "curr1_input": two, "in1_label": "i" + label,
		})
		supply(t, root, "BAT0", map[string]string{"type": "Battery", "status": status, "current_now": one, "voltage_now": two})
		m, _, err := energy.Open(energy.Config{Sysfs: root, Procfs: "testdata/none"})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		var before []energy.Reading
		for s := 1; s < 6; s++ {
			readings := m.Read(at(s))
			for _, b := range before {
				if r := find(readings, b.Zone.Name, b.Zone.Socket); r.Total < b.Total || r.Faults < b.Faults {
					t.Fatalf("%+v, then %+v", b, r)
				}
			}
			for _, r := range readings {
				if n := r.Zone.Name; n == "" || len(n) > 63 || strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" || r.Error > 2 {
					t.Fatalf("%+v", r)
				}
				if r.Total > energy.Microwatts(8_000_000_000).Over(5*1e9) {
					t.Fatalf("jumped: %+v", r)
				}
			}
			before = readings
			set(t, root, "class/hwmon/hwmon0/energy1_input", two)
			set(t, root, "class/hwmon/hwmon0/power1_input", one)
			one, two = two, one
		}
	})
}

// Where powercap shows a zone, perf opens no event for it; a counter of a
// device that sleeps is left alone, and counts on.
func TestOneSourceAZone(t *testing.T) {
	root := plant(t, "perf.txtar")
	makeZone(t, root, "intel-rapl:0", "package-0", "5000000", "65532610987")
	makeZone(t, root, "intel-rapl:1", "package-1", "5000000", "65532610987")
	m, missing := open(t, energy.Config{Sysfs: root, Ignore: []string{"core", "uncore", "dram", "psys"}})
	if got := zones(m.Read(at(1))); got != "package/0/simulated package/1/simulated" || len(missing) != 0 {
		t.Error(got, missing)
	}
	put(t, root, "intel-rapl:1", "energy_uj", "7000000")
	if r := find(m.Read(at(30)), "package", 1); r.Total != 2*joule {
		t.Errorf("%+v", r)
	}
}

func TestSleepingCounter(t *testing.T) {
	root := plant(t, "laptop-battery.txtar")
	m, _ := open(t, energy.Config{Sysfs: root})
	gpu := func(s int) energy.Reading { return find(m.Read(at(s)), "gpu-03-00-0", energy.AllSockets) }
	status := "class/hwmon/hwmon3/device/power/runtime_status"
	gpu(1)
	set(t, root, status, "suspended")
	if r := gpu(2); r.State != energy.Stale || !strings.Contains(r.Note, "sleeps") || r.Faults != 0 {
		t.Errorf("%+v", r)
	}
	set(t, root, status, "active")
	set(t, root, "class/hwmon/hwmon3/energy1_input", "5557221110")
	if r := gpu(30); r.Total != 5*joule || r.State != energy.Fresh {
		t.Errorf("%+v", r)
	}
	// Its power was cut: it starts anew, which is no fault.
	set(t, root, status, "suspended")
	gpu(40)
	set(t, root, status, "active")
	set(t, root, "class/hwmon/hwmon3/energy1_input", "1000000")
	if r := gpu(60); r.Total != 5*joule || r.State != energy.Fresh || r.Resets != 1 || r.Faults != 0 {
		t.Errorf("%+v", r)
	}
}

func BenchmarkReadMachines(b *testing.B) {
	for _, listing := range []string{"laptop.txtar", "steam-deck.txtar", "jetson-orin.txtar", "power9.txtar"} {
		b.Run(listing, func(b *testing.B) {
			m, _ := open(b, energy.Config{Sysfs: plant(b, listing)})
			a := at(1)
			m.Read(a)
			b.ReportAllocs()
			for b.Loop() {
				m.Read(a) // the clock stands still: no scan
			}
		})
	}
}
