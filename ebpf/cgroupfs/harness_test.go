package cgroupfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// The test binary is its own load: burn:SECONDS (on the first CPU that it may
// use), touch:MEGABYTES and then wait for the end of standard input,
// write:FILE:MEGABYTES.
const roleEnv = "CAM_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func play(role string) error {
	f := strings.Split(role, ":")
	n, err := strconv.Atoi(f[len(f)-1])
	if err != nil {
		return err
	}
	switch f[0] {
	case "burn":
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			return err
		}
		first := 0
		for !set.IsSet(first) {
			first++
		}
		set.Zero()
		set.Set(first)
		if err := unix.SchedSetaffinity(os.Getpid(), &set); err != nil {
			return err
		}
		for end := time.Now().Add(time.Duration(n) * time.Second); time.Now().Before(end); {
		}
	case "touch":
		b := make([]byte, n<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		b[0]++
	case "write":
		out, err := os.Create(f[1])
		for b := make([]byte, 1<<20); err == nil && n > 0; n-- {
			_, err = out.Write(b)
		}
		return errors.Join(err, out.Close())
	}
	return nil
}

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

// leaf is a cgroup of the test's own.
type leaf struct {
	h         *cgroup.Hierarchy
	path, dir string
	id        cgroup.ID
}

var leaves int

func newLeaf(t testing.TB, h *cgroup.Hierarchy, below string) leaf {
	t.Helper()
	leaves++
	l := leaf{h: h, path: fmt.Sprintf("%s/cam-test-cgroupfs-%d-%d", below, os.Getpid(), leaves)}
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

func (l leaf) remove(t testing.TB) {
	t.Helper()
	var err error
	for range 1000 {
		if err = l.h.Remove(l.path); err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Error(err)
}

func (l leaf) write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, file), []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

func (l leaf) reader(t testing.TB) *Reader {
	t.Helper()
	r, err := Open(l.h, l.id, l.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// needs a controller in leaves below the root. A guest is the test's own, and
// may be set so; elsewhere the machine shows that it is not there.
func needs(t testing.TB, h *cgroup.Hierarchy, controller string) {
	t.Helper()
	if os.Getenv("CAM_LAB_GUEST") != "" {
		if err := os.WriteFile(filepath.Join(h.Root(), "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(h.Root(), "cgroup.subtree_control"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(b)), controller) {
		t.Skipf("the %s controller is not enabled below the root: %q", controller, b)
	}
}

func start(t testing.TB, dir, role string) *exec.Cmd {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), roleEnv+"="+role)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(d.Fd())}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(c, in) })
	if strings.HasPrefix(role, "touch") {
		_, _ = out.Read(make([]byte, 8)) // or it was killed
	}
	return c
}

func end(c *exec.Cmd, in io.Closer) {
	_ = in.Close()
	if c.ProcessState == nil {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
}

// crowd makes two processes want one CPU.
func crowd(t testing.TB, l leaf) {
	t.Helper()
	for range 2 {
		start(t, l.dir, "burn:30")
	}
}

// eventually waits for what the kernel does in its own time.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(25 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}

func look(t testing.TB, r *Reader) Stat {
	t.Helper()
	s, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pretended is a Reader of files that a test wrote.
func pretended(t testing.TB, content map[string]string) (*Reader, func(file, text string)) {
	t.Helper()
	dir := t.TempDir()
	put := func(file, text string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range content {
		put(file, text)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newReader(fd, 7, "/a", dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return r, put
}
