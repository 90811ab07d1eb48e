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
	// It began anew twice, after Full and after Unknown: the time before is lost.
	if r := find(m.Read(at(14)), "bat0", energy.AllSockets); r.Resets != 2 {
		t.Errorf("%+v", r)
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
