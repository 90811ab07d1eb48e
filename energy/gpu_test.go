package energy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cam-os/edge/energy"
)

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
