package energy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cam-os/edge/energy"
)

// fifo makes a FIFO that nobody writes to in place of a file.
func fifo(t *testing.T, elements ...string) {
	t.Helper()
	file := filepath.Join(elements...)
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
}

// returns fails the test if f is held up, long before the test binary's own
// limit would end it without a word.
func returns(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("held up by a FIFO")
	}
}

// A FIFO anywhere in a tree is refused, and said so; nothing waits for it.
func TestFIFOs(t *testing.T) {
	a := energy.Activity{At: time.Second, Busy: []time.Duration{0}, CPUs: []int{2}, Packages: []int{0}}
	for name, c := range map[string]struct{ file, want string }{
		"root":     {"", "not a directory"},
		"class":    {"class", "not a directory"},
		"powercap": {"class/powercap", "not a directory"},
		"zone":     {"class/powercap/intel-rapl:0", "is empty"},
		"name":     {"class/powercap/intel-rapl:0/name", "is empty"},
		"counter":  {"class/powercap/intel-rapl:0/energy_uj", "not a regular file"},
		"board":    {"firmware/devicetree/base/model", ""},
		"cpuinfo":  {"cpuinfo", ""},
		"model":    {"device-tree/model", ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "R")
			makeZone(t, root, "intel-rapl:0", "package-0", "100", "65000000000")
			fifo(t, root, c.file)
			returns(t, func() {
				m, missing := open(t, energy.Config{Sysfs: root, Procfs: root})
				if said := strings.Join(missing, "\n"); c.want == "" && said != "" || !strings.Contains(said, c.want) || strings.Contains(said, "/.") {
					t.Errorf("missing %q, want %q", missing, c.want)
				}
				if got := zones(m.Read(a)); c.want != "" && got != "package/0/model" || c.want == "" && got != "package/0/simulated" {
					t.Error(got)
				}
			})
		})
	}
}

// The same when the tree is exchanged under a running meter: the total stays.
func TestFIFOsLater(t *testing.T) {
	for _, file := range []string{"", "class/powercap", "class/powercap/intel-rapl:0", "class/powercap/intel-rapl:0/max_energy_range_uj"} {
		root := filepath.Join(t.TempDir(), "R")
		makeZone(t, root, "intel-rapl:0", "package-0", "100", "65000000000")
		m, _ := open(t, energy.Config{Sysfs: root})
		m.Read(at(1))
		put(t, root, "intel-rapl:0", "energy_uj", "150")
		m.Read(at(2))
		fifo(t, root, file)
		returns(t, func() {
			for _, s := range []int{3, 4, 20} {
				if r := m.Read(at(s)); len(r) != 1 || r[0].Total != 50 {
					t.Errorf("%s: %+v", file, r)
				}
			}
		})
	}
}

// Far more zones than a machine has: a bounded number is read, and the rest is
// named.
func TestTooManyZones(t *testing.T) {
	const many, most = 10_000, 256
	root := t.TempDir()
	for i := range many {
		// Zones alike share their files; only names are their own.
		dir := filepath.Join(root, "class/powercap", fmt.Sprintf("intel-rapl:%05d", i))
		if i < most+10 {
			makeZone(t, root, filepath.Base(dir), fmt.Sprintf("package-%d", i), "100", "65000000000")
		} else if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m, missing := open(t, energy.Config{Sysfs: root})
	if len(missing) != 1 || !strings.Contains(missing[0], fmt.Sprintf("%d powercap zones beyond the first %d are not read (intel-rapl:00256,", many-most, most)) {
		t.Errorf("missing %q", missing)
	}
	if n := len(m.Read(at(1))); n != most {
		t.Errorf("%d zones", n)
	}
	// Others in their place are not read on top: what was counted stays.
	for i := range most {
		removeZone(t, root, fmt.Sprintf("intel-rapl:%05d", i))
	}
	readings := m.Read(at(20))
	if len(readings) != most || readings[0].State != energy.Lost {
		t.Errorf("%d zones, the first %+v", len(readings), readings[0])
	}
}

// A zone that shows only what no counter of its range can is named with a
// remedy, and left to the model; it counts once it makes sense.
func TestAlwaysRefused(t *testing.T) {
	root := t.TempDir()
	makeZone(t, root, "intel-rapl:0", "package-0", "18446744073709551615\n", "65000000000")
	m, missing := open(t, energy.Config{Sysfs: root})
	if len(missing) != 1 || !strings.Contains(missing[0], "intel-rapl:0/energy_uj shows 18446744073709551615 µJ, beyond its max_energy_range_uj of 65000000000") || !strings.Contains(missing[0], "load the module") {
		t.Errorf("missing %q", missing)
	}
	a := energy.Activity{At: time.Second, Busy: []time.Duration{0}, CPUs: []int{2}, Packages: []int{0}}
	for range 3 {
		a.At += 20 * time.Second // past a new scan
		if got := zones(m.Read(a)); got != "package/0/model" {
			t.Error(got)
		}
	}
	put(t, root, "intel-rapl:0", "energy_uj", "100")
	m.Read(a)
	put(t, root, "intel-rapl:0", "energy_uj", "130")
	a.At += time.Second
	if r := m.Read(a)[1]; r.Zone.Source != energy.Simulated || r.Total != 30 {
		t.Errorf("%+v", r)
	}
}

// A reset among lost readings is credited no more than recent power makes
// likely, whether it looks like a wrap or is confirmed later.
func TestResetAmongLostReadings(t *testing.T) {
	const watt = energy.Microjoules(1_000_000) // for a second
	for name, c := range map[string]struct {
		steady    int // seconds at 10 W before
		lost      int // seconds of unreadable files after
		back, end string
		most      energy.Microjoules
	}{
		"like a wrap":               {10, 30, "", "1000", 4 * 10 * 31 * watt},
		"like a wrap, no mean":      {0, 30, "", "1000", 2000 * watt},
		"confirmed late":            {10, 30, "3000000000", "50000000000", 4 * 10 * 31 * watt},
		"confirmed late, no mean":   {0, 30, "3000000000", "50000000000", 2000 * watt},
		"confirmed at once, modest": {10, 0, "30000000000", "30008000000", 4 * 10 * watt},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			value := 60_000_000_000
			span := "65532610987"
			if c.back != "" {
				span = "0" // so that no value is beyond it, nor a wrap
			}
			makeZone(t, root, "intel-rapl:0", "package-0", fmt.Sprint(value), span)
			m, _ := open(t, energy.Config{Sysfs: root})
			now := 1
			next := func(text string) energy.Reading {
				put(t, root, "intel-rapl:0", "energy_uj", text)
				now++
				return m.Read(at(now))[0]
			}
			before := next(fmt.Sprint(value))
			for range c.steady {
				value += 10_000_000
				before = next(fmt.Sprint(value))
			}
			if c.back != "" {
				next(c.back)
			}
			for range c.lost {
				next("")
			}
			r := next(c.end)
			if r.State != energy.Fresh || r.Total <= before.Total || r.Total-before.Total > c.most {
				t.Errorf("%d µJ more, at most %d: %+v", r.Total-before.Total, c.most, r)
			}
			if again := next(c.end[:len(c.end)-1] + "7"); again.Total-r.Total > 10 {
				t.Errorf("what was not credited came later: %+v", again)
			}
		})
	}
}
