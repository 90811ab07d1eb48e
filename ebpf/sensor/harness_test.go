package sensor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

func hierarchy(t testing.TB) *cgroup.Hierarchy {
	t.Helper()
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil {
		mounts, _ := os.ReadFile("/proc/self/mounts")
		if strings.Contains(string(mounts), " cgroup2 ") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("not root: no cgroups of our own")
	}
	return h
}

// leaf is a cgroup of the test's own, with its id and its directory.
type leaf struct {
	h    *cgroup.Hierarchy
	path string
	dir  string
	id   cgroup.ID
}

var leaves int

func newLeaf(t testing.TB, h *cgroup.Hierarchy, below string) leaf {
	t.Helper()
	leaves++
	l := leaf{h: h, path: fmt.Sprintf("%s/cam-test-sensor-%d-%d", below, os.Getpid(), leaves)}
	if err := h.Create(l.path); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.id, err = h.ID(l.path); err != nil {
		t.Fatal(err)
	}
	if l.dir, err = h.Dir(l.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.remove(t) })
	return l
}

// remove waits for what is on its way out: the kernel refuses until it is.
func (l leaf) remove(t testing.TB) {
	t.Helper()
	var err error
	for range 500 {
		if err = l.h.Remove(l.path); err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Error(err)
}

// kernelSensor opens the eBPF sensor; a test skips only where the machine
// shows that it cannot be had.
func kernelSensor(t testing.TB, c Config) Sensor {
	t.Helper()
	c.Force = EBPF
	s, err := Open(c)
	if err != nil {
		_, noBTF := os.Stat("/sys/kernel/btf/vmlinux")
		if os.Geteuid() != 0 || noBTF != nil {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func look(t testing.TB, s Sensor) *Snapshot {
	t.Helper()
	sn, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	checkAncestry(t, sn)
	return sn
}

// checkAncestry follows every cgroup to the root.
func checkAncestry(t testing.TB, s *Snapshot) {
	t.Helper()
	for id := range s.Cgroups {
		for depth := 0; id != cgroup.Root; depth++ {
			p, ok := s.Parents[id]
			if !ok || depth > 64 {
				t.Fatalf("cgroup %d has no way to the root", id)
			}
			id = p
		}
	}
}

func (u Usage) cpu() (d time.Duration) {
	for _, p := range u.OnCPU {
		d += p
	}
	return d
}

// busy is all that was charged to anybody.
func (s *Snapshot) busy() time.Duration {
	d := s.Overflow.cpu()
	for _, u := range s.Cgroups {
		d += u.cpu()
	}
	return d
}

func (s *Snapshot) idle() (d time.Duration) {
	for _, p := range s.Idle {
		d += p
	}
	return d
}

// diskDir is a directory on a file system that the kernel counts I/O for.
func diskDir(t testing.TB) string {
	t.Helper()
	for _, dir := range []string{t.TempDir(), "."} {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		if st.Type != unix.TMPFS_MAGIC && st.Type != unix.RAMFS_MAGIC {
			abs, err := filepath.Abs(dir)
			if err != nil {
				t.Fatal(err)
			}
			return abs
		}
	}
	t.Skip("the temporary and the working directory are in memory: no I/O to count")
	return ""
}

// dropPages writes a file back and takes it out of the page cache.
func dropPages(t testing.TB, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}
