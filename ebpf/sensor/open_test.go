package sensor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// asNobody opens a sensor in a process of another user, with no rights but the
// capabilities given, and returns what it says.
func asNobody(t *testing.T, cgroups string, capabilities ...uintptr) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: cannot become somebody else")
	}
	// The test binary lies where nobody may not go.
	dir := t.TempDir()
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	exe := filepath.Join(dir, "exe")
	from, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(exe, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(to.Chmod(0o755), to.Close()); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe)
	c.Dir = "/"
	c.Env = []string{roleEnv + "=sensor:" + cgroups}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: capabilities}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// An ordinary user gets what is left, and is told what is not.
func TestWithoutRights(t *testing.T) {
	h := hierarchy(t)
	got := asNobody(t, h.Root())
	if got[0] != string(Cgroup) {
		t.Errorf("source %q", got[0])
	}
	mentions(t, got[1:], "exact figures", "CAP_BPF and CAP_PERFMON", "context switches")

	got = asNobody(t, "/nonexistent")
	if got[0] != string(Procfs) {
		t.Errorf("source %q", got[0])
	}
	mentions(t, got[1:], "CAP_BPF", "figures per cgroup: no cgroup2", "10 ms", "I/O bytes")
}

// Two capabilities are enough, where maps are not charged to RLIMIT_MEMLOCK.
func TestWithTwoCapabilities(t *testing.T) {
	kernelSensor(t, Config{}) // skips where there is none
	h := hierarchy(t)
	got := asNobody(t, h.Root(), unix.CAP_BPF, unix.CAP_PERFMON)
	if release := kernelRelease(t); strings.HasPrefix(release, "5.10.") {
		mentions(t, got[1:], "LimitMEMLOCK=infinity")
		return
	}
	if got[0] != string(EBPF) || len(unexplained(got[1:])) > 0 {
		t.Errorf("%q", got)
	}
}

// unexplained is what is missing, but for cycles where there is no counter.
func unexplained(missing []string) (out []string) {
	for _, m := range missing {
		paranoid, _ := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
		if strings.Contains(m, "perf_event_paranoid") && strings.TrimSpace(string(paranoid)) > "2" {
			continue
		}
		if try(hardware, 1) == nil || !strings.HasPrefix(m, "cycles and instructions: ") {
			out = append(out, m)
		}
	}
	return out
}

func kernelRelease(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(u.Release[:])
}

// A kernel that does not count I/O per task still gives the rest.
func TestWithoutTaskIO(t *testing.T) {
	h := hierarchy(t)
	kernelSensor(t, Config{}) // skips where there is none
	s, err := startKernel(mustDefaults(t, Config{}), btf.NewCache(), features{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := newLeaf(t, h, "")
	start(t, l.dir, "burn:20ms").end()
	if got := look(t, s).Cgroups[l.id]; got.cpu() < 10*time.Millisecond || got.Written != 0 {
		t.Errorf("%+v", got)
	}
	if m := s.Measures(); m != (Measures{Agents: true, Switches: true, Moves: true}) {
		t.Errorf("%+v", m)
	}
}

func mentions(t *testing.T, missing []string, words ...string) {
	t.Helper()
	all := strings.Join(missing, "\n")
	for _, w := range words {
		if !strings.Contains(all, w) {
			t.Errorf("%q is not mentioned in:\n%s", w, all)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for want, c := range map[string]Config{
		"room for -1 cgroups":      {MaxCgroups: -1},
		"room for 2097152 cgroups": {MaxCgroups: 2 << 20},
		`no source "magic"`:        {Force: "magic"},
		"no cgroup2 file system":   {Force: Cgroup, Cgroup: "/nonexistent"},
		"/proc/stat":               {Force: Procfs, Procfs: "/nonexistent"},
	} {
		if s, err := Open(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, %v; want %q", c, s, err, want)
		}
	}
}

func TestBestSourceHasNothingToSay(t *testing.T) {
	kernelSensor(t, Config{}) // skips where there is none
	s, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := s.Measures()
	m.Cycles = false // TestNoCounters has it
	if m != (Measures{Agents: true, Switches: true, IO: true, Waits: true, Moves: true}) {
		t.Errorf("%+v", m)
	}
	if s.Source() != EBPF || len(unexplained(s.Missing())) != 0 {
		t.Errorf("%s, missing %q", s.Source(), s.Missing())
	}
	if n := len(s.Topology().PackageOf); n < 1 {
		t.Errorf("%d CPUs", n)
	}
}

// What the kernel says while loading becomes what an operator can do.
func TestErrorsSayWhatToDo(t *testing.T) {
	for want, err := range map[string]error{
		"CAP_BPF and CAP_PERFMON": fmt.Errorf("load: %w", unix.EPERM),
		"5.10 or later":           fmt.Errorf("attach: %w", ebpf.ErrNotSupported),
		"a newer kernel":          fmt.Errorf("btf: %w", btf.ErrNotFound),
	} {
		got := explain(err)
		var u *UnsupportedError
		if !errors.As(got, &u) || !strings.Contains(got.Error(), want) || !errors.Is(got, err) {
			t.Errorf("%v: %v, want %q", err, got, want)
		}
	}
	other := errors.New("odd")
	if got := explain(other); !errors.Is(got, other) {
		t.Error(got)
	}
}
