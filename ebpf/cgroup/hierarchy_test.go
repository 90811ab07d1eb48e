package cgroup_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cam-os/edge/ebpf/cgroup"
)

func open(t *testing.T) *cgroup.Hierarchy {
	t.Helper()
	h, err := cgroup.Open("/sys/fs/cgroup")
	if errors.Is(err, cgroup.ErrNoCgroup2) {
		mounts, _ := os.ReadFile("/proc/self/mounts")
		if strings.Contains(string(mounts), " cgroup2 ") {
			t.Fatalf("there is a cgroup2, and yet: %v", err)
		}
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// leaf makes a cgroup of the test's own.
func leaf(t *testing.T, h *cgroup.Hierarchy) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: cannot create cgroups")
	}
	p := fmt.Sprintf("/cam-test-cgroup-%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	if err := h.Create(p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Remove(p); err != nil {
			t.Error(err)
		}
	})
	return p
}

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), "CAM_TEST_WAIT=1")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = c.Wait()
	})
	return c
}

func TestMain(m *testing.M) {
	if os.Getenv("CAM_TEST_WAIT") != "" {
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent closes it
		return
	}
	os.Exit(m.Run())
}

func TestTree(t *testing.T) {
	h := open(t)
	p := leaf(t, h)
	if id, err := h.ID("/"); err != nil || id != cgroup.Root {
		t.Errorf("root: id %d, %v; want %d", id, err, cgroup.Root)
	}
	for _, c := range []string{p + "/a", p + "/b", p + "/b/c"} {
		if err := h.Create(c); err != nil {
			t.Fatal(err)
		}
		defer h.Remove(c)
	}
	if err := h.Create(p); err != nil {
		t.Errorf("create what is there: %v", err)
	}
	got, err := h.Children(p)
	if want := []string{p + "/a", p + "/b"}; err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("children %v, %v; want %v", got, err, want)
	}
	paths, err := h.Paths()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"/", p, p + "/a", p + "/b/c"} {
		id, err := h.ID(c)
		if err != nil {
			t.Fatal(err)
		}
		if paths[id] != c {
			t.Errorf("walk: cgroup %d is at %q, want %q", id, paths[id], c)
		}
		if at, err := h.Path(id); err != nil || at != c {
			t.Errorf("Path(%d) = %q, %v; want %q", id, at, err, c)
		}
	}
	if err := h.Remove(p + "/b"); err == nil {
		t.Error("removed a cgroup that has one below it")
	}
	if err := h.Remove(p + "/none"); err != nil {
		t.Errorf("remove what is not there: %v", err)
	}
	for name, err := range map[string]error{
		"ID":        second(h.ID(p + "/none")),
		"Procs":     second(h.Procs(p + "/none")),
		"Populated": second(h.Populated(p + "/none")),
		"Children":  second(h.Children(p + "/none")),
		"Path":      second(h.Path(1 << 60)),
		"Move":      h.Move(p+"/none", os.Getpid()),
		"Create":    h.Create(p + "/none/x"),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of no cgroup: %v, want fs.ErrNotExist", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestMove(t *testing.T) {
	h := open(t)
	p := leaf(t, h)
	if pop, err := h.Populated(p); err != nil || pop {
		t.Errorf("new cgroup: populated %v, %v", pop, err)
	}
	c := sleeper(t)
	before, err := cgroup.Of("/proc", c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Move(p, c.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if at, err := cgroup.Of("/proc", c.Process.Pid); err != nil || at != p {
		t.Errorf("process is in %q, %v; want %q", at, err, p)
	}
	if pids, err := h.Procs(strings.TrimPrefix(p, "/")); err != nil || fmt.Sprint(pids) != fmt.Sprint([]int{c.Process.Pid}) {
		t.Errorf("processes %v, %v", pids, err)
	}
	if pop, err := h.Populated(p); err != nil || !pop {
		t.Errorf("populated %v, %v", pop, err)
	}
	if err := h.Remove(p); err == nil {
		t.Error("removed a cgroup with a process in it")
	}
	if err := h.Move(before, c.Process.Pid); err != nil {
		t.Error(err)
	}
	for _, pid := range []int{0, -1, 1 << 22} {
		if err := h.Move(p, pid); err == nil {
			t.Errorf("moved process %d", pid)
		}
	}
	if pop, err := h.Populated("/"); err != nil || !pop {
		t.Errorf("root populated %v, %v", pop, err)
	}
}

// A move is only believed when procfs says so.
func TestMoveReadsBack(t *testing.T) {
	proc := t.TempDir()
	h, err := cgroup.OpenAt(open(t).Root(), proc)
	if err != nil {
		t.Fatal(err)
	}
	p := leaf(t, h)
	c := sleeper(t)
	pid := fmt.Sprint(c.Process.Pid)
	before, err := cgroup.Of("/proc", c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	back, err := cgroup.Open(h.Root())
	if err != nil {
		t.Fatal(err)
	}
	defer back.Move(before, c.Process.Pid)
	if err := h.Move(p, c.Process.Pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a /proc entry: %v", err)
	}
	if err := os.Mkdir(filepath.Join(proc, pid), 0o755); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		"0::/elsewhere\n":            "it is in /elsewhere",
		"1:cpu:/\n0::/x (deleted)\n": "it is in /x",
		"1:cpu:/\n":                  "no cgroup2",
		"":                           "no cgroup2",
	} {
		if err := os.WriteFile(filepath.Join(proc, pid, "cgroup"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := h.Move(p, c.Process.Pid); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
	}
}

func TestPathsStayInside(t *testing.T) {
	h := open(t)
	for _, p := range []string{"..", "/..", "/a/../..", "a/../../b", "/a/./b", "/a//b", "/a\nb", "/a\x00"} {
		for name, err := range map[string]error{
			"Dir": second(h.Dir(p)), "ID": second(h.ID(p)), "Procs": second(h.Procs(p)), "Create": h.Create(p),
			"Remove": h.Remove(p), "Move": h.Move(p, 1), "Populated": second(h.Populated(p)), "Children": second(h.Children(p)),
		} {
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s(%q): %v", name, p, err)
			}
		}
	}
	for _, p := range []string{"", "/"} {
		if h.Create(p) == nil || h.Remove(p) == nil {
			t.Errorf("the root %q was created or removed", p)
		}
	}
	if dir, err := h.Dir("a/b"); err != nil || dir != path.Join(h.Root(), "a/b") {
		t.Errorf("Dir: %q, %v", dir, err)
	}
}

func TestOpenElsewhere(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/nonexistent", os.Args[0]} {
		if _, err := cgroup.Open(dir); !errors.Is(err, cgroup.ErrNoCgroup2) {
			t.Errorf("Open(%s): %v", dir, err)
		}
	}
	h := open(t)
	again, err := cgroup.Open(h.Root())
	if err != nil || again.Root() != h.Root() {
		t.Errorf("Open(%s): %v", h.Root(), err)
	}
}

// Cgroups that come and go while the tree is walked are no error.
func TestWalkUnderChurn(t *testing.T) {
	h := open(t)
	p := leaf(t, h)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			c := fmt.Sprintf("%s/%d", p, i%8)
			_ = h.Create(c)
			_ = h.Remove(c)
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 300 {
		paths, err := h.Paths()
		if err != nil {
			t.Fatal(err)
		}
		if paths[cgroup.Root] != "/" {
			t.Fatal("no root")
		}
	}
	close(stop)
	<-done
}
