package block

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// controllers opens the cgroup2 tree, where io is enabled below the root. With
// it comes memory, by which the kernel knows whose a dirty page is.
func controllers(t *testing.T) *cgroup.Hierarchy {
	t.Helper()
	h, err := cgroup.Open("/sys/fs/cgroup")
	if errors.Is(err, cgroup.ErrNoCgroup2) || os.Geteuid() != 0 {
		t.Skip("no cgroups of our own: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	on, err := os.ReadFile(filepath.Join(h.Root(), "cgroup.subtree_control"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(on)), "io") {
		t.Skipf("cgroup2 has no io controller enabled here, only %q", on)
	}
	return h
}

// group makes a cgroup that is gone when the test ends.
func group(t *testing.T, h *cgroup.Hierarchy, path string) cgroup.ID {
	t.Helper()
	if err := h.Create(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, h, path) })
	id, err := h.ID(path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// drop waits for what is on its way out.
func drop(t *testing.T, h *cgroup.Hierarchy, path string) {
	t.Helper()
	var err error
	for range 500 {
		if err = h.Remove(path); err == nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Error(err)
}

// enable turns controllers on below a cgroup.
func enable(t *testing.T, h *cgroup.Hierarchy, path, what string) {
	t.Helper()
	dir, err := h.Dir(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(what), 0); err != nil {
		t.Fatal(err)
	}
}

// writer is a child that is born in a cgroup, and writes.
func writer(t *testing.T, h *cgroup.Hierarchy, path, how, name string, n int) *exec.Cmd {
	t.Helper()
	dir, err := h.Dir(path)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s,%s,%d", testRoles, how, name, n))
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd()), Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

func wait(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
}

// syncDisk writes back all that is dirty below dir.
func syncDisk(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
}

// below sums what a cgroup and its descendants wrote to disks that are real.
func (s *Snapshot) below(top cgroup.ID) (n uint64) {
	for k, u := range s.Usage {
		if k.Op != Write || s.Disks[k.Device].Stacked {
			continue
		}
		for id, ok := k.Cgroup, true; ok; id, ok = s.Parents[id] {
			if id == top {
				n += u.Bytes
			}
		}
	}
	return n
}

// charged prints a line of the table and holds it to 1%.
func charged(t *testing.T, what string, wrote, charged uint64) {
	t.Helper()
	off := 100 * (float64(charged)/float64(wrote) - 1)
	const mib = 1 << 20
	t.Logf("charge %s: wrote %.1f MiB, charged %.2f MiB, %+.2f%%", what, float64(wrote)/mib, float64(charged)/mib, off)
	if off > 1 || off < -1 {
		t.Errorf("%s is off by %.2f%%", what, off)
	}
}

// TestCharge holds what agents are charged to what they wrote.
func TestCharge(t *testing.T) {
	h := controllers(t)
	d := diskHere(t)
	s := openHere(t, Config{}, ownersHere())
	if len(s.Missing()) != 0 {
		t.Errorf("missing: %q", s.Missing())
	}
	for _, how := range []string{"direct", "buffered", "dirty"} {
		for _, agents := range []int{1, 4} {
			size := uint64(64<<20) / uint64(agents)
			var ids []cgroup.ID
			var paths []string
			for i := range agents {
				p := fmt.Sprintf("/cam-test-charge-%s-%d-%d", how, agents, i)
				ids, paths = append(ids, group(t, h, p)), append(paths, p)
			}
			syncDisk(t, d.dir)
			before := look(t, s)
			var running []*exec.Cmd
			for i, p := range paths {
				name := filepath.Join(d.dir, fmt.Sprintf("%s-%d-%d", how, agents, i))
				running = append(running, writer(t, h, p, how, name, int(size)))
			}
			for _, c := range running {
				wait(t, c)
			}
			syncDisk(t, d.dir)
			after := look(t, s)
			for i, id := range ids {
				charged(t, fmt.Sprintf("%s, agent %d of %d", how, i+1, agents), size, after.below(id)-before.below(id))
			}
			if n := after.of(d, Flush).Operations; n == 0 {
				t.Error("no flush was counted")
			}
			for i := range paths {
				if err := os.Remove(filepath.Join(d.dir, fmt.Sprintf("%s-%d-%d", how, agents, i))); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestRemovedDirty removes a cgroup below an agent with dirty pages left: the
// agent is charged for them all the same.
func TestRemovedDirty(t *testing.T) {
	h := controllers(t)
	d := diskHere(t)
	s := openHere(t, Config{}, ownersHere())
	const agent, child, size = "/cam-test-dirty", "/cam-test-dirty/child", 16 << 20
	id := group(t, h, agent)
	enable(t, h, agent, "+io")
	childID := group(t, h, child)
	own := Key{childID, d.dev, Write}
	wait(t, writer(t, h, child, "direct", filepath.Join(d.dir, "own"), chunk))
	before := look(t, s)
	if before.Usage[own].Bytes != chunk {
		t.Errorf("the child itself wrote %+v", before.Usage[own])
	}
	wait(t, writer(t, h, child, "dirty", filepath.Join(d.dir, "f"), size))
	drop(t, h, child)
	early := look(t, s).below(id) - before.below(id)
	syncDisk(t, d.dir)
	after := look(t, s)
	charged(t, "a cgroup removed with dirty pages", size, after.below(id)-before.below(id))
	t.Logf("%.1f MiB of it before the cgroup was gone", float64(early)/(1<<20))

	// Silent and gone, its account leaves, and so does what led to it.
	for range silentLooks + 2 {
		after = look(t, s)
	}
	if u, ok := after.Usage[own]; ok {
		t.Errorf("%+v of the removed cgroup is still there", u)
	}
	if _, ok := after.Parents[childID]; ok {
		t.Error("the parent of the removed cgroup is still there")
	}
}

// TestEnabled: without the io controller a cgroup's bytes are its nearest
// ancestor's that has it.
func TestEnabled(t *testing.T) {
	h := controllers(t)
	d := diskHere(t)
	s := openHere(t, Config{}, ownersHere())
	const agent, child, size = "/cam-test-enabled", "/cam-test-enabled/child", 4 << 20
	agentID := group(t, h, agent)
	childID := group(t, h, child)
	for _, c := range []struct {
		enable, how string
		owner       cgroup.ID
	}{
		{"-io", "direct", agentID},
		{"-io", "buffered", agentID},
		{"+io", "direct", childID},
		{"+io", "buffered", childID},
	} {
		enable(t, h, agent, c.enable)
		before := look(t, s)
		wait(t, writer(t, h, child, c.how, filepath.Join(d.dir, "f"), size))
		after := look(t, s)
		k := Key{c.owner, d.dev, Write}
		charged(t, fmt.Sprintf("%s with %q below the agent, to %s", c.how, c.enable, map[cgroup.ID]string{agentID: "the agent", childID: "its child"}[c.owner]),
			size, after.Usage[k].Bytes-before.Usage[k].Bytes)
		if err := os.Remove(filepath.Join(d.dir, "f")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLoop writes to a loop device on the disk: both devices count, and what is
// not stacked is what was written.
func TestLoop(t *testing.T) {
	h := controllers(t)
	d := diskHere(t)
	loop := attachLoop(t, filepath.Join(d.dir, "image"), 32<<20)
	s := openHere(t, Config{}, ownersHere())
	const agent, size = "/cam-test-loop", 16 << 20
	id := group(t, h, agent)
	syncDisk(t, d.dir)
	before := look(t, s)
	wait(t, writer(t, h, agent, "direct", loop, size))
	syncDisk(t, d.dir)
	after := look(t, s)
	var stacked, real uint64
	for k, u := range after.Usage {
		if k.Op != Write {
			continue
		}
		if n := u.Bytes - before.Usage[k].Bytes; after.Disks[k.Device].Stacked {
			stacked += n
		} else {
			real += n
		}
	}
	charged(t, "a loop device, on it", size, stacked)
	charged(t, "a loop device, below it, to anybody", size, real)
	t.Logf("of which the writer's: %.1f MiB", float64(after.below(id)-before.below(id))/(1<<20))
}

// attachLoop puts a loop device on a new file.
func attachLoop(t *testing.T, name string, size int) string {
	t.Helper()
	if err := write("buffered", name, size); err != nil {
		t.Fatal(err)
	}
	image, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Fatal(err)
	}
	dev := fmt.Sprintf("/dev/loop%d", n)
	loop, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(image.Fd())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0), loop.Close()); err != nil {
			t.Error(err)
		}
	})
	return dev
}
