package energy

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"
)

// pmuTree plants testdata/perf.txtar, with files changed.
func pmuTree(t *testing.T, changes map[string]string) string {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/perf.txtar")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, f := range archive.Files {
		name, target, isLink := strings.Cut(f.Name, " -> ")
		file := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if isLink {
			err = errors.Join(err, os.Symlink(target, file))
		} else {
			err = errors.Join(err, os.WriteFile(file, f.Data, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range changes {
		if err := os.WriteFile(filepath.Join(root, "devices/power", name), []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// clocks opens the kernel's software clock of CPU 0 in place of each event of
// RAPL, which this machine may not have: nanoseconds, counted by a real event.
func clocks(opened *[]string) func(uint32, uint64, int) (perfEvent, error) {
	return func(pmu uint32, config uint64, cpu int) (perfEvent, error) {
		*opened = append(*opened, fmt.Sprintf("%d/%d@%d", pmu, config, cpu))
		return openPerf(unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CPU_CLOCK, 0)
	}
}

func needPerf(t *testing.T) {
	t.Helper()
	e, err := openPerf(unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CPU_CLOCK, 0)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOSYS) {
		t.Skipf("no software event can be opened for a CPU here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = e.Close()
}

func nothingCovered(spot) bool { return false }

func TestPerf(t *testing.T) {
	needPerf(t)
	var opened []string
	p := &perf{sysfs: pmuTree(t, nil), open: clocks(&opened), filter: filter{ignore: []string{"core"}}}
	defer p.close()
	if missing := p.scan(func(s spot) bool { return s == spot{DRAM, 1} }); len(missing) != 0 {
		t.Errorf("missing %q", missing)
	}
	if got := strings.Join(opened, " "); got != "23/2@0 23/2@18 23/4@0 23/4@18 23/3@0 23/5@0" {
		t.Error(got)
	}
	p.scanned = time.Second
	start := time.Now()
	now := func() time.Duration { return time.Second + time.Since(start) }
	better := map[spot]Source{{DRAM, 1}: RAPL}
	first := p.read(now(), 0, better)
	if len(first) != 6 {
		t.Fatalf("%+v", first)
	}
	time.Sleep(10 * time.Millisecond)
	for i, r := range p.read(now(), 0, better) {
		// A nanosecond is 2^-32 J here: 0.23 W.
		if most := Microwatts(240_000).Over(now()); r.Total == 0 || r.Total > most || r.State != Fresh || r.Zone != first[i].Zone || r.Zone.Source != Simulated {
			t.Errorf("%d %+v", i, r)
		}
	}
	// A better source shows a zone at last, and an event fails.
	better[spot{Package, 0}] = RAPL
	p.known[1].shut()
	readings := p.read(now(), 0, better)
	if r := readings[0]; r.State != Stale || r.Note != "superseded by rapl" || p.known[0].event != nil {
		t.Errorf("%+v", r)
	}
	if r := readings[1]; r.State != Lost || r.Faults != 1 {
		t.Errorf("%+v", r)
	}
	// The next scan opens what is shut, and its count starts at 0 again.
	before := readings[1].Total
	again := p.read(now()+rescan, 0, better)[1]
	if again.State != Fresh || again.Total < before || again.Total > before+1000_000 {
		t.Errorf("%+v after %d", again, before)
	}
}

// Dies of a package are summed: two CPUs of one package in the mask.
func TestPerfDies(t *testing.T) {
	needPerf(t)
	var opened []string
	p := &perf{sysfs: pmuTree(t, map[string]string{"cpumask": "0-1,18"}), open: clocks(&opened), filter: filter{ignore: []string{"[^p]*", "psys"}}}
	defer p.close()
	p.scan(nothingCovered)
	p.scanned = time.Second
	if r := p.read(time.Second, 0, nil); len(p.known) != 3 || len(r) != 2 || r[0].Zone.Socket != 0 || r[1].Zone.Socket != 1 {
		t.Errorf("%+v", r)
	}
}

func TestPerfThatMakesNoSense(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]string
		want    string
	}{
		"type":  {map[string]string{"type": "power"}, "make no sense"},
		"mask":  {map[string]string{"cpumask": "0-99999"}, "is no list of CPUs"},
		"mask2": {map[string]string{"cpumask": ""}, "is no list of CPUs"},
		"event": {map[string]string{"events/energy-pkg": "config=2"}, "energy-pkg makes no sense"},
		"unit":  {map[string]string{"events/energy-ram.unit": "Watts"}, "not Joules"},
		"scale": {map[string]string{"events/energy-pkg.scale": "nan"}, "not the joules of a count"},
	} {
		var opened []string
		p := &perf{sysfs: pmuTree(t, c.changes), open: clocks(&opened)}
		if missing := p.scan(nothingCovered); !strings.Contains(strings.Join(missing, " "), c.want) {
			t.Errorf("%s: missing %q", name, missing)
		}
		p.close()
	}
	p := &perf{sysfs: pmuTree(t, nil), open: func(uint32, uint64, int) (perfEvent, error) {
		return nil, os.NewSyscallError("perf_event_open", unix.EACCES)
	}}
	if missing := p.scan(nothingCovered); len(missing) != 1 || !strings.Contains(missing[0], "grant CAP_PERFMON") {
		t.Errorf("missing %q", missing)
	}
	p.open = openPerf // type 23 is no PMU of this kernel's, or not RAPL's
	for _, m := range p.scan(nothingCovered) {
		if !strings.Contains(m, "cannot be opened") && !strings.Contains(m, "may not be") {
			t.Errorf("missing %q", m)
		}
	}
	p.close()
	for _, dir := range []string{"/none", t.TempDir()} {
		if missing := (&perf{sysfs: dir}).scan(nothingCovered); missing != nil {
			t.Errorf("missing %q", missing)
		}
	}
}

func TestScale(t *testing.T) {
	kernel, err := parseScale("2.3283064365386962890625e-10")
	if err != nil {
		t.Fatal(err)
	}
	for count, want := range map[uint64]Microjoules{0: 0, 1 << 32: 1_000_000, 1<<32 - 1: 999_999, 1 << 52: 1 << 20 * 1_000_000, math.MaxUint64: 4_294_967_295_999_999} {
		if got := kernel.of(count); got != want {
			t.Errorf("%d: %d, want %d", count, got, want)
		}
	}
	if big, err := parseScale("0.9"); err != nil || big.of(math.MaxUint64) != math.MaxUint64 || big.of(2) != 1_800_000 {
		t.Errorf("%+v, %v", big, err)
	}
	for _, s := range []string{"", "0", "1", "-1e-9", "1e-300", "inf", "x"} {
		if _, err := parseScale(s); err == nil {
			t.Errorf("%q", s)
		}
	}
}

func FuzzParsers(f *testing.F) {
	for _, s := range []string{"", "0\n", "-5", "4294967274\n", "event=0x02", "2.3283064365386962890625e-10", "0,18", "0-3,7", "VDD_IN", "Esocket7", "Chip 8 Vdd", "ina3221"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := parseGauge([]byte(s)); err == nil && v > math.MaxInt64 {
			t.Errorf("gauge %q: %d", s, v)
		}
		if _, err := parseEvent(s); err != nil && len(err.Error()) > 200 {
			t.Errorf("event %q: %v", s, err)
		}
		if cpus, err := parseCPUs(s); err == nil && (len(cpus) == 0 || len(cpus) > maxZones+1) {
			t.Errorf("list %q: %v", s, cpus)
		}
		if fac, err := parseScale(s); err == nil && fac.of(1<<40) > fac.of(1<<41) {
			t.Errorf("scale %q falls", s)
		}
		for _, chip := range []string{"amdgpu", "xe", "amd_energy", "ibmpowernv", "power_meter", "ina3221", s} {
			for _, o := range []origin{{chip: chip, device: s, attribute: "in1", label: s}, {chip: chip, device: s, attribute: "in2", label: "x" + s}, {chip: chip, device: s}} {
				z, w, _, ok := o.placed()
				if !ok {
					continue
				}
				if z.Socket < AllSockets || z.Name == "" || len(z.Name) > longestName || zoneName(z.Name) != z.Name || w == "" {
					t.Errorf("%+v: %+v %q", o, z, w)
				}
				if q := qualified(z.Name, s); q == "" || len(q) > longestName || zoneName(q) != q {
					t.Errorf("%q qualified by %q: %q", z.Name, s, q)
				}
			}
		}
	})
}
