package network

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
)

// asNobody opens a Counter in a process of another user, with no rights but the
// capabilities given, and returns what it says.
func asNobody(t *testing.T, capabilities ...uintptr) string {
	t.Helper()
	dir := t.TempDir()
	// The test binary lies where nobody may not go.
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "exe")
	if err := errors.Join(os.WriteFile(exe, self, 0o755), os.Chmod(exe, 0o755)); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe)
	c.Dir = "/"
	c.Env = []string{roleEnv + "=open"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: capabilities}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return string(out)
}

func TestRights(t *testing.T) {
	hierarchy(t)
	if got := asNobody(t); !strings.HasPrefix(got, "error:") || !strings.Contains(got, "CAP_BPF and CAP_NET_ADMIN") {
		t.Errorf("without rights: %s", got)
	}
	if strings.HasPrefix(kernelRelease(t), "5.10.") {
		return // maps are charged to RLIMIT_MEMLOCK there
	}
	if got := asNobody(t, unix.CAP_BPF, unix.CAP_NET_ADMIN); !strings.HasPrefix(got, "open\n") || !strings.Contains(got, "connections refused: eBPF needs CAP_PERFMON") {
		t.Errorf("with two: %s", got)
	}
	if got := asNobody(t, unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON); got != "open\n" {
		t.Errorf("with three: %s", got)
	}
}

func TestFollowRefuses(t *testing.T) {
	h := hierarchy(t)
	c := counter(t, h)
	l := newLeaf(t, h, "")
	for path, id := range map[string]cgroup.ID{"/none": 5, l.path: l.id + 1} {
		if err := c.Follow(id, path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for path, want := range map[string]string{"/": "root", "../..": "no path"} {
		if err := c.Follow(cgroup.Root, path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got := read(t, c); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// Others may have programs there, too, or want to be alone.
func TestOtherPrograms(t *testing.T) {
	h := hierarchy(t)
	c := counter(t, h)
	l := newLeaf(t, h, "")
	dir, err := os.Open(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	p, err := c.pair(1)
	if err != nil {
		t.Fatal(err)
	}
	alone := link.RawAttachProgramOptions{Target: int(dir.Fd()), Program: p.Egress, Attach: ebpf.AttachCGroupInetEgress}
	if err := link.RawAttachProgram(alone); err != nil {
		t.Fatal(err)
	}
	if err := c.Follow(l.id, l.path); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "bpftool cgroup tree") {
		t.Errorf("beside an exclusive program: %v", err)
	}
	if err := link.RawDetachProgram(link.RawDetachProgramOptions{Target: alone.Target, Program: p.Egress, Attach: alone.Attach}); err != nil {
		t.Fatal(err)
	}
	var fill []link.Link
	for range 64 {
		k, err := link.AttachRawLink(link.RawLinkOptions{Target: int(dir.Fd()), Program: p.Ingress, Attach: ebpf.AttachCGroupInetIngress})
		if err != nil {
			t.Fatal(err)
		}
		fill = append(fill, k)
	}
	if err := c.Follow(l.id, l.path); !errors.Is(err, unix.E2BIG) || !strings.Contains(err.Error(), "64") {
		t.Errorf("beside 64 programs: %v", err)
	}
	for _, k := range fill {
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	follow(t, c, l) // none of it left anything behind
}

func TestNoRoom(t *testing.T) {
	h := hierarchy(t)
	c, err := open(h, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, b := newLeaf(t, h, ""), newLeaf(t, h, "")
	follow(t, c, a)
	if err := c.Follow(b.id, b.path); !errors.Is(err, unix.E2BIG) || !strings.Contains(err.Error(), "follow fewer") {
		t.Errorf("%v", err)
	}
	if _, err := c.Unfollow(a.id); err != nil {
		t.Fatal(err)
	}
	follow(t, c, b)
}

// A part of the tree is no ground to count depths from.
func TestNamespace(t *testing.T) {
	l := newLeaf(t, hierarchy(t), "")
	part, err := cgroup.Open(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	var u *sensor.UnsupportedError
	if _, err := Open(part, nil); !errors.As(err, &u) || !strings.Contains(err.Error(), "--cgroupns=host") {
		t.Errorf("%v", err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	odd := errors.New("odd")
	for _, c := range []struct {
		got  error
		of   error
		want string
	}{
		{explain(fmt.Errorf("load: %w", unix.EPERM)), unix.EPERM, "CAP_NET_ADMIN"},
		{explain(fmt.Errorf("load: %w", ebpf.ErrNotSupported)), ebpf.ErrNotSupported, "5.10 or later"},
		{explain(odd), odd, "network counter"},
		{explainTracing(unix.EACCES), unix.EACCES, "CAP_PERFMON"},
		{explainTracing(ebpf.ErrNotSupported), ebpf.ErrNotSupported, "CONFIG_DEBUG_INFO_BTF"},
		{explainTracing(odd), odd, "program"},
		{refusedAttach(unix.ENOENT), fs.ErrNotExist, "meanwhile"},
		{refusedAttach(odd), odd, "attach"},
		{noRoom(odd), odd, "odd"},
	} {
		if !errors.Is(c.got, c.of) || !strings.Contains(c.got.Error(), c.want) {
			t.Errorf("%v, want %q", c.got, c.want)
		}
	}
}
