package sensor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cam-os/edge/ebpf/cgroup"
)

func fileSensor(t *testing.T) Sensor {
	t.Helper()
	hierarchy(t)
	s, err := Open(Config{Force: Cgroup})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestFilesChargeACgroup(t *testing.T) {
	h := hierarchy(t)
	s := fileSensor(t)
	if m := s.Measures(); !m.Agents || m.Switches {
		t.Errorf("%+v", m)
	}
	outer := newLeaf(t, h, "")
	inner := newLeaf(t, h, outer.path)
	truth := start(t, inner.dir, "burn:100ms").end()
	sn := look(t, s)
	got := sn.Cgroups[inner.id].cpu()
	// cpu.stat is flushed per CPU, the last microseconds a little later.
	if d := (got - truth).Abs(); d > truth/20 {
		t.Errorf("charged %v, rusage says %v", got, truth)
	}
	if own := sn.Cgroups[outer.id].cpu(); own > truth/20 {
		t.Errorf("the parent was charged %v for its child", own)
	}
	if sn.Parents[inner.id] != outer.id || sn.Parents[outer.id] != cgroup.Root {
		t.Errorf("parents %v", sn.Parents)
	}
	inner.remove(t)
	if again := look(t, s); again.Cgroups[inner.id].cpu() != got || again.Cgroups[outer.id].cpu() > truth/20 {
		t.Errorf("removed: %v, its parent %v", again.Cgroups[inner.id], again.Cgroups[outer.id])
	}
	if _, ok := look(t, s).Cgroups[inner.id]; ok {
		t.Error("a removed cgroup stays for ever")
	}
	start(t, outer.dir, "burn:50ms").end()
	if own := look(t, s).Cgroups[outer.id].cpu(); own < 45*time.Millisecond {
		t.Errorf("the parent itself: charged %v of 50ms", own)
	}
}

func TestFilesNeverGoBack(t *testing.T) {
	h := hierarchy(t)
	s := fileSensor(t)
	prev := look(t, s)
	for range 10 {
		l := newLeaf(t, h, "")
		start(t, l.dir, "burn:1ms").end()
		sn := look(t, s)
		noneWentBack(t, prev, sn)
		prev = sn
		l.remove(t)
	}
	if prev.busy() == 0 {
		t.Error("nothing was charged")
	}
}

// Without a cgroup2 file system the machine is one account.
func TestProcfsIsOneAccount(t *testing.T) {
	s, err := Open(Config{Force: Procfs})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := look(t, s)
	a := start(t, "", "burn:300ms", "write:"+diskDir(t)+"/f:1048576", "io", "wait")
	a.wrote()
	a.ready()
	after := look(t, s)
	noneWentBack(t, before, after)
	if d := after.busy() - before.busy(); d < 200*time.Millisecond {
		t.Errorf("charged %v of 300ms", d)
	}
	if u := after.Cgroups[cgroup.Root]; u.Written != 0 || u.Read != 0 {
		t.Errorf("I/O that it cannot measure: %+v", u)
	}
	mentions(t, s.Missing(), "cgroups", "context switches", "I/O bytes")
	if m := s.Measures(); m != (Measures{}) {
		t.Errorf("%+v", m)
	}
	a.goOn().end()
	noneWentBack(t, after, look(t, s))
	if s.Source() != Procfs || len(s.Missing()) == 0 || len(s.Topology().Packages) == 0 {
		t.Errorf("source %s, missing %q", s.Source(), s.Missing())
	}
}

// tree of files, as a machine with two sockets and a sick /proc shows them.
func fakeHost(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTopology(t *testing.T) {
	cpu := func(n int) string { return fmt.Sprintf("devices/system/cpu/cpu%d/topology/physical_package_id", n) }
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"none":        {nil, "{[0] [0 0 0 0]}"},
		"two sockets": {map[string]string{cpu(0): "0\n", cpu(1): "1\n", cpu(2): "0\n", cpu(3): "1\n"}, "{[0 1] [0 1 0 1]}"},
		"odd ids":     {map[string]string{cpu(0): "36\n", cpu(1): "8\n", cpu(2): "36\n", cpu(3): "8\n"}, "{[8 36] [1 0 1 0]}"},
		"offline":     {map[string]string{cpu(0): "0\n", cpu(1): "1\n", cpu(3): "1\n"}, "{[0 1] [0 1 0 1]}"},
		"arm":         {map[string]string{cpu(0): "-1\n", cpu(1): "-1\n", cpu(2): "x\n", cpu(3): "\n"}, "{[0] [0 0 0 0]}"},
	} {
		if got := fmt.Sprint(readTopology(fakeHost(t, c.files), 4)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	a := readTopology("/sys", 2)
	a.clone().PackageOf[0] = 7
	if a.PackageOf[0] == 7 {
		t.Error("a clone is no clone")
	}
}

func TestCPUTimesSurviveNonsense(t *testing.T) {
	stat := func(lines ...string) string {
		return "cpu  0 0 0 0 0 0 0 0 0 0\n" + strings.Join(lines, "\n") + "\nintr 0\n"
	}
	root := fakeHost(t, map[string]string{"stat": stat("cpu0 100 0 0 100 10 0 0 0 0 0", "cpu1 0 0 0 0 0 0 0 0 0 0")})
	c, err := newCPUTimes(hostContext(root), Topology{Packages: []int{0, 1}, PackageOf: []int{0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		stat, busy, idle string
	}{
		{stat("cpu0 150 0 0 200 10 0 0 0 0 0", "cpu1 1 1 1 1 1 1 1 9 9 9"), "[500ms 50ms]", "[1s 20ms]"},
		// iowait goes back, CPU 1 goes offline, a CPU that cannot be appears
		{stat("cpu0 150 0 0 210 0 0 0 0 0 0", "cpu9 5 5 5 5 5 5 5 5 5 5"), "[500ms 50ms]", "[1s 20ms]"},
		{stat("cpu0 160 0 0 210 5 0 0 0 0 0", "cpu1 NaN 0 inf 1 1 1 1 0 0 0"), "[600ms 50ms]", "[1.05s 20ms]"},
		{stat("cpu0 170 0 0 210 5 0 0 0 0 0", "cpu1 0 0 0 3 3 0 0 0 0 0"), "[700ms 50ms]", "[1.05s 60ms]"},
	} {
		if err := os.WriteFile(filepath.Join(root, "stat"), []byte(step.stat), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.read(); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(c.busy) != step.busy || fmt.Sprint(c.idle) != step.idle {
			t.Errorf("step %d: busy %v, idle %v; want %s, %s", i, c.busy, c.idle, step.busy, step.idle)
		}
	}
	for _, bad := range []string{"", "nonsense\n", "cpu\ncpu0 x\n"} {
		if err := os.WriteFile(filepath.Join(root, "stat"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.read(); err == nil {
			t.Errorf("%q was taken for CPU times", bad)
		}
	}
}

func TestCgroupFilesSurviveNonsense(t *testing.T) {
	root := fakeHost(t, map[string]string{
		"ok/cpu.stat": "usage_usec 1500\nuser_usec 1\n", "ok/io.stat": "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n",
		"empty/cpu.stat": "", "empty/io.stat": "",
		"bad/cpu.stat": "usage_usec -3\n", "bad/io.stat": "8:0 rbytes=x wbytes\n",
		"huge/cpu.stat": "usage_usec 18446744073709551615\n", "huge/io.stat": "8:0 rbytes=99999999999999999999\n",
	})
	for name, want := range map[string]string{
		"ok": "1.5ms true {11 22} true", "empty": "0s false {0 0} true", "bad": "0s false {0 0} true",
		"huge": "0s false {0 0} true", "none": "0s false {0 0} false",
	} {
		d, ok := cpuStat(filepath.Join(root, name))
		b, has := ioStat(filepath.Join(root, name))
		if got := fmt.Sprint(d, ok, b, has); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestSplitGivesAllAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, 1<<50).Draw(t, "d"))
		shares := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "share"))
		}), 1, 8).Draw(t, "shares")
		var sum time.Duration
		for _, part := range split(d, shares) {
			if part < 0 {
				t.Fatalf("a part of %v", part)
			}
			sum += part
		}
		if sum != d {
			t.Fatalf("%v of %v", sum, d)
		}
	})
}
