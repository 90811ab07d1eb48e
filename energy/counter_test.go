package energy

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// machine is a zone whose truth is known.
type machine struct {
	truth Microjoules // since the meter's first look
	raw   Microjoules // what the hardware counts
	now   time.Duration
}

func (m *machine) run(t *rapid.T, limit Microwatts, span Microjoules) {
	d := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(5*time.Second)).Draw(t, "elapsed"))
	e := Microjoules(rapid.Uint64Max(uint64(limit.Over(d))).Draw(t, "energy"))
	m.now += d
	m.truth += e
	m.raw = (m.raw + e) % span
}

func newMachine(t *rapid.T) (*machine, *counter) {
	limit := Microwatts(rapid.Uint64Range(1e6, 2e9).Draw(t, "limit"))
	// As RAPL has it: more than a minute's worth.
	span := max(limit.Over(time.Minute), Microjoules(rapid.Uint64Range(65e9, 262e9).Draw(t, "span")))
	return &machine{raw: Microjoules(rapid.Uint64Max(uint64(span-1)).Draw(t, "start"))}, &counter{span: span, limit: limit}
}

// Without faults, and through faults that hide the counter but do not change
// it, the total is the truth. Only what a wrap among lost readings adds may be
// counted in part, and then the counter says so.
func TestCounterLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, c := newMachine(t)
		c.take(m.raw, m.now, 0)
		var last Microjoules
		hidden := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			before := m.now
			m.run(t, c.limit, c.span)
			hidden += m.now - before
			if hidden < 30*time.Second && rapid.IntRange(0, 3).Draw(t, "fault") == 0 {
				c.refuse("unreadable")
			} else {
				c.take(m.raw, m.now, 0)
				hidden = 0
				if strings.Contains(c.warning, "lower bound") && c.total < m.truth {
					m.truth = c.total // a wrap unseen among lost readings, and it says so
				}
				if c.total != m.truth {
					t.Fatalf("total %d, truth %d", c.total, m.truth)
				}
			}
			if c.total < last {
				t.Fatalf("went back from %d to %d", last, c.total)
			}
			last = c.total
		}
	})
}

// Whatever a counter shows, the total never goes back, and no reading adds
// more than the zone can have drawn since the total last moved.
func TestCounterNeverJumps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, c := newMachine(t)
		c.take(m.raw, m.now, 0)
		asleep := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			m.run(t, c.limit, c.span)
			value := m.raw
			switch rapid.IntRange(0, 7).Draw(t, "fault") {
			case 0: // garbage
				value = Microjoules(rapid.Uint64().Draw(t, "garbage"))
			case 1: // reset
				m.raw = Microjoules(rapid.Uint64Max(uint64(c.span-1)).Draw(t, "reset"))
				value = m.raw
			case 2: // back a little
				value -= min(value, Microjoules(rapid.Uint64Max(1e6).Draw(t, "back")))
			case 3:
				asleep += time.Second
			case 4:
				c.gone = true
				continue
			}
			before, moved, since, doubt := c.total, c.moved, c.since, c.doubt
			c.take(value, m.now, asleep)
			most := c.bound(m.now - moved)
			if doubt {
				most = max(most, c.bound(m.now-since))
			}
			if c.total < before || c.total-before > most {
				t.Fatalf("from %d to %d, at most %d more", before, c.total, most)
			}
			if c.state == Fresh && c.doubt {
				t.Fatal("fresh, and in doubt")
			}
		}
	})
}

// Resets of the kind that machines have (to a low value) cost what passed
// around them, and add nothing that was not drawn.
func TestCounterResetAddsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, c := newMachine(t)
		c.take(m.raw, m.now, 0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			gone := rapid.IntRange(0, 4).Draw(t, "fault") == 0
			if gone {
				c.gone = true
				c.refuse("gone")
				m.raw = 0
			}
			m.run(t, c.limit, c.span)
			c.take(m.raw, m.now, 0)
			if c.total > m.truth {
				t.Fatalf("total %d, truth %d", c.total, m.truth)
			}
		}
	})
}

// The same through files: zones that freeze, vanish, return under other
// numbers, and files that hold garbage. Hidden, not changed: so after each
// good look the total is the truth.
func TestTreeLosesNothing(t *testing.T) {
	garbage := []string{"", "\n", "-1\n", "x\n", "0x10\n", "1 2\n", "1e9\n", "\x00\x00", strings.Repeat("9", 30), strings.Repeat("9", 4096)}
	base := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		root := filepath.Join(base, strconv.Itoa(run))
		defer os.RemoveAll(root)
		const span = 65_532_610_987
		number := 0
		m := &machine{raw: Microjoules(rapid.Uint64Max(span-1).Draw(t, "start"))}
		show := func(text string) {
			dir := filepath.Join(root, powercapDir, "intel-rapl:"+strconv.Itoa(number))
			must(t, os.MkdirAll(dir, 0o755))
			must(t, os.WriteFile(filepath.Join(dir, "name"), []byte("package-0\n"), 0o600))
			must(t, os.WriteFile(filepath.Join(dir, "max_energy_range_uj"), []byte("65532610987\n"), 0o600))
			must(t, os.WriteFile(filepath.Join(dir, "energy_uj"), []byte(text), 0o600))
		}
		exact := func() string { return strconv.FormatUint(uint64(m.raw), 10) + "\n" }
		show(exact())
		meter, missing, err := Open(Config{Sysfs: root, Procfs: root})
		if err != nil || len(missing) > 0 {
			t.Fatal(missing, err)
		}
		defer meter.Close()
		read := func() Reading {
			readings := meter.Read(Activity{At: m.now})
			if len(readings) != 1 {
				t.Fatalf("%d zones", len(readings))
			}
			return readings[0]
		}
		read()
		last := Microjoules(0)
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			good := false
			m.run(t, 500_000_000, span)
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0: // frozen
			case 1:
				show(rapid.SampledFrom(garbage).Draw(t, "garbage"))
			case 2: // a low counter on return is a reset: return by wrap is not
				must(t, os.RemoveAll(filepath.Join(root, powercapDir)))
				if m.raw > span/2 {
					number++
				}
			default:
				show(exact())
				good = true
			}
			r := read()
			if r.Total < last {
				t.Fatalf("went back from %d to %d", last, r.Total)
			}
			last = r.Total
			if r.Total > m.truth {
				t.Fatalf("total %d, truth %d", r.Total, m.truth)
			}
			if good && strings.Contains(r.Note, "lower bound") {
				m.truth = r.Total // as in TestCounterLosesNothing
			}
			if good && r.Resets == 0 && r.Total != m.truth {
				t.Fatalf("total %d, truth %d: %+v", r.Total, m.truth, r)
			}
			if !good && r.State == Fresh {
				t.Fatalf("fresh without a new value: %+v", r)
			}
		}
	})
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzParseCounter(f *testing.F) {
	for _, s := range []string{"0\n", "262143328850\n", "", "-5\n", "+5", "5\n\n", " 5", "18446744073709551615", "18446744073709551616", "00012\n", "٣"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseCounter(b)
		text := strings.TrimSuffix(string(b), "\n")
		want, wantErr := strconv.ParseUint(text, 10, 64)
		if (err == nil) != (wantErr == nil) || err == nil && uint64(v) != want {
			t.Errorf("%q: %d %v, want %d %v", b, v, err, want, wantErr)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}

// The kernel's own sysfs is known as such, whatever the path.
func TestSourceOfSysfs(t *testing.T) {
	f, err := os.Open("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil {
		f, err = os.Open("/sys/kernel/uevent_seqnum")
	}
	if err != nil {
		t.Skipf("no sysfs here: %v", err)
	}
	defer f.Close()
	if got := sourceOf(f); got != RAPL {
		t.Errorf("sysfs is %s", got)
	}
	d := domain{zone: Zone{Name: Package, Source: RAPL}}
	if got := d.uncertainty(false); got != 0.05 {
		t.Errorf("uncertainty %v", got)
	}
	d.elapsed, d.zone.Name = 10*time.Millisecond, DRAM
	if got := d.uncertainty(false); got < 0.14 || got > 0.15 {
		t.Errorf("uncertainty of 10 ms of DRAM %v", got)
	}
}

// A tree that changes its nature under a zone is not the same counter.
func TestExchangedTree(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(powercapDir, "intel-rapl:0")
	if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"name": "package-0\n", "energy_uj": "900\n", "max_energy_range_uj": "65532610987\n"} {
		if err := os.WriteFile(filepath.Join(root, dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	zone, err := os.OpenRoot(filepath.Join(root, dir))
	if err != nil {
		t.Fatal(err)
	}
	rapl := &domain{id: "package-0", zone: Zone{Name: Package, Source: RAPL}, dir: dir, root: zone}
	rapl.limit = defaultLimit
	rapl.take(800, 0, 0)
	p := &powercap{sysfs: root, domains: []*domain{rapl}}
	defer p.close()
	for _, at := range []time.Duration{time.Second, 2 * time.Second} {
		for _, r := range p.read(at, 0) {
			if r.Zone.Source == RAPL && (r.Total != 0 || r.State != Lost) {
				t.Errorf("files were taken for RAPL: %+v", r)
			}
		}
	}
	if len(p.domains) != 2 || p.domains[1].zone.Source != Simulated || !p.domains[1].known {
		t.Error("the simulated zone was not adopted beside it")
	}
}
