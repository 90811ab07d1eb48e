package cgroupfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sample is what the files of a busy cgroup say (6.1; memory.stat cut).
func sample() map[string]string {
	pressure := "some avg10=1.50 avg60=0.20 avg300=0.00 total=4000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3000\n"
	return map[string]string{
		"cgroup.controllers":  "cpu io memory pids\n",
		"cpu.stat":            "usage_usec 5\nuser_usec 2\nsystem_usec 3\nnr_periods 9\nnr_throttled 4\nthrottled_usec 2500\n",
		"memory.current":      "1000000\n",
		"memory.peak":         "2000000\n",
		"memory.max":          "max\n",
		"memory.swap.current": "12\n",
		"memory.stat": "anon 5\nfile 6\ninactive_anon 1\ninactive_file 300000\nworkingset_refault_anon 2\nworkingset_refault_file 5\n" +
			"pgscan 20\npgsteal 10\n",
		"memory.events":   "low 0\nhigh 2\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n",
		"cpu.pressure":    pressure,
		"io.pressure":     pressure,
		"memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n", // as 5.10 has cpu's
	}
}

func TestFigures(t *testing.T) {
	r, put := pretended(t, sample())
	p := Pressure{4 * time.Millisecond, 3 * time.Millisecond}
	want := Stat{
		Throttle: &Throttle{4, 2500 * time.Microsecond},
		Memory: &Memory{Current: 1000000, Peak: 2000000, WorkingSet: 700000, Swap: 12,
			Reclaimed: 10 * uint64(os.Getpagesize()), Refaults: 7, AtHigh: 2, AtMax: 3, OOMKills: 1},
		CPU: &p, IO: &p, Mem: &Pressure{Some: time.Microsecond},
	}
	if got := look(t, r); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %+v", got, got.Memory)
	}
	if r.ID() != 7 || strings.Join(r.Enabled(), ",") != "cpu,io,memory,pids" || len(r.Missing()) != 0 {
		t.Errorf("%d, %v, %v", r.ID(), r.Enabled(), r.Missing())
	}
	put("memory.max", "5000\n")
	put("memory.current", "3000000\n")
	if got := look(t, r).Memory; got.Peak != 3000000 {
		t.Errorf("a peak below the current: %+v", got)
	}
	put("memory.peak", "3000001\n")
	put("memory.current", "10\n") // less than what is inactive: read a moment later
	for range patience {
		look(t, r)
	}
	if got := look(t, r).Memory; got.Max != 5000 || got.Peak != 3000001 || got.WorkingSet != 0 {
		t.Errorf("%+v", got)
	}
}

// What is absent is left out, and is seen when it comes.
func TestAbsentFiles(t *testing.T) {
	r, put := pretended(t, map[string]string{"cgroup.controllers": "\n", "cpu.stat": "usage_usec 5\n"})
	if got := look(t, r); got != (Stat{}) {
		t.Errorf("%+v", got)
	}
	s := sample()
	put("cpu.pressure", s["cpu.pressure"])
	for range patience + 1 {
		look(t, r)
	}
	if got := look(t, r); got.CPU == nil || got.Memory != nil {
		t.Errorf("%+v", got)
	}
	// Controllers that come.
	for _, f := range []string{"memory.current", "memory.stat", "memory.events", "cgroup.controllers", "cpu.stat"} {
		put(f, s[f])
	}
	for range patience + 1 {
		look(t, r)
	}
	got := look(t, r)
	if got.Memory == nil || got.Memory.Peak != 0 || got.Throttle == nil || got.Throttle.Periods != 4 {
		t.Errorf("%+v", got)
	}
}

// Whatever a file says, the error names it, the rest is read, and when the file
// is well again it goes on.
func TestGarbage(t *testing.T) {
	junk := []string{"", "\n", "x", "x\n", " \n", "-1\n", "1.5\n", "18446744073709551615\n", "99999999999999999999999\n", "12", "\x00\xff\n",
		"some\n", "some total=\n", "some total=9999999999999999999\n", "full total=1\n", "some total=1 \n",
		"nr_throttled x\nthrottled_usec 1\n", "nr_throttled 1\n", "throttled_usec 9223372036854775807\nnr_throttled 1\n",
		"inactive_file 1\npgsteal 9223372036854775807\n", "anon 1\n", "oom 1\n", "oom_kill -\n", "oom_kill\n", "oom_kill 1",
		strings.Repeat("a 1\n", 5000)}
	valid := map[string]bool{ // no nonsense in these, only nothing of use
		"cpu.stat": true, "cgroup.controllers": true,
	}
	for file, good := range sample() {
		if file == "cgroup.controllers" {
			continue
		}
		r, put := pretended(t, sample())
		want := look(t, r)
		for _, j := range junk {
			put(file, j)
			r.retry = true
			got, err := r.Read()
			if err == nil && !valid[file] {
				t.Errorf("%s: %.30q is taken", file, j)
			}
			if err != nil && !strings.Contains(err.Error(), file+" of cgroup /a") {
				t.Errorf("%s: %.30q: %v", file, j, err)
			}
			whole := 0
			for _, part := range []bool{got.Throttle != nil, got.Memory != nil, got.CPU != nil, got.IO != nil, got.Mem != nil} {
				if part {
					whole++
				}
			}
			if whole != 4 {
				t.Errorf("%s: %.30q leaves %d parts", file, j, whole)
			}
			put(file, good)
			r.retry = true
			if got, err := r.Read(); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: after %.30q: %+v, %v", file, j, got, err)
			}
		}
	}
}

// A count that went back is told once, and no figure goes back or jumps.
func TestCountersThatGoBack(t *testing.T) {
	r, put := pretended(t, sample())
	had := look(t, r)
	put("cpu.stat", "nr_throttled 1\nthrottled_usec 500\n")
	got, err := r.Read()
	if err == nil || !strings.Contains(err.Error(), "cpu.stat of cgroup /a: went back") || !reflect.DeepEqual(got, had) {
		t.Errorf("%+v, %v", got.Throttle, err)
	}
	put("cpu.stat", "nr_throttled 2\nthrottled_usec 700\n")
	if got := look(t, r).Throttle; *got != (Throttle{5, 2700 * time.Microsecond}) {
		t.Errorf("%+v", got)
	}
	// The controller was off: a new count.
	put("cpu.stat", "usage_usec 5\n")
	if got := look(t, r).Throttle; got != nil {
		t.Errorf("%+v", got)
	}
	put("cpu.stat", "nr_throttled 1\nthrottled_usec 100\n")
	for range patience + 1 {
		look(t, r)
	}
	if got := look(t, r).Throttle; *got != (Throttle{6, 2800 * time.Microsecond}) {
		t.Errorf("%+v", got)
	}
	for file, text := range map[string]string{
		"memory.stat":   "inactive_file 300000\nworkingset_refault 1\npgsteal 1\n",
		"memory.events": "high 0\nmax 0\noom_kill 0\n",
		"io.pressure":   "some total=1\nfull total=1\n",
	} {
		put(file, text)
		got, err := r.Read()
		if err == nil || !strings.Contains(err.Error(), file) || !reflect.DeepEqual(got.Memory, had.Memory) || !reflect.DeepEqual(got.IO, had.IO) {
			t.Errorf("%s: %+v, %v", file, got, err)
		}
		look(t, r)
	}
}

func TestCounterNeverWraps(t *testing.T) {
	const most = 1<<63 - 1
	var c counter
	had := uint64(0)
	for _, now := range []uint64{most, 0, most, 5, 7, most} {
		for _, restarted := range []bool{false, true} {
			got, _ := c.take(now, restarted)
			if got < had || got > most {
				t.Fatalf("%d after %d", got, had)
			}
			had = got
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	h := hierarchy(t)
	l := newLeaf(t, h, "")
	if _, err := Open(h, l.id+1, l.path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), l.path) {
		t.Errorf("another cgroup: %v", err)
	}
	if _, err := Open(h, l.id, l.path+"/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if _, err := Open(h, l.id, "../.."); err == nil {
		t.Error("left the tree")
	}
	dir := t.TempDir()
	for name, want := range map[string]string{"none": "cgroup.controllers", "fifo": "cgroup.controllers", "link": "too many"} {
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		switch name {
		case "fifo":
			if err := unix.Mkfifo(filepath.Join(at, "cgroup.controllers"), 0o600); err != nil {
				t.Fatal(err)
			}
		case "link":
			if err := os.Symlink("cgroup.controllers", filepath.Join(at, "cgroup.controllers")); err != nil {
				t.Fatal(err)
			}
		}
		fd, err := unix.Open(at, unix.O_PATH, 0)
		if err != nil {
			t.Fatal(err)
		}
		r, err := newReader(fd, 1, "/a", dir)
		if err == nil {
			_, err = r.Read()
			_ = r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoGarbageOfOurOwn(t *testing.T) {
	r, _ := pretended(t, sample())
	look(t, r)
	if n := testing.AllocsPerRun(100, func() { look(t, r) }); n > 1 { // the Stat's parts, the caller's to keep
		t.Errorf("%v allocations a look", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range sample() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePressure(b); err == nil && (p.Some < 0 || p.Full < 0) {
			t.Errorf("%+v", p)
		}
		if th, _, err := throttling(b); err == nil && th.Time < 0 {
			t.Errorf("%+v", th)
		}
		_, _ = parseMemoryStat(b, 4096)
		_, _ = parseMemoryEvents(b)
		_, _ = limit(b)
	})
}
