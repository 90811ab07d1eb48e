package sensor

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is its own load: started with a role, it does one thing and
// ends.
const roleEnv = "CAM_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := play(strings.Split(role, ",")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play does what a role says, step by step: burn:2ms, write:FILE:BYTES,
// threads:FILE:BYTES (four threads, each a file of its own; they stay),
// read:FILE, wait (for a line on standard input), io (print /proc/self/io's write_bytes),
// sensor (print what an open sensor says of itself).
func play(steps []string) error {
	in := bufio.NewReader(os.Stdin)
	for _, s := range steps {
		verb, arg, _ := strings.Cut(s, ":")
		switch verb {
		case "burn":
			d, err := time.ParseDuration(arg)
			if err != nil {
				return err
			}
			for cpuTime() < d {
			}
		case "write":
			name, n, _ := strings.Cut(arg, ":")
			size, err := strconv.Atoi(n)
			if err != nil {
				return err
			}
			if err := os.WriteFile(name, bytes.Repeat([]byte("cam "), size/4), 0o600); err != nil {
				return err
			}
		case "threads":
			if err := writeInThreads(arg); err != nil {
				return err
			}
		case "read":
			if _, err := os.ReadFile(arg); err != nil {
				return err
			}
		case "wait":
			fmt.Println("ready")
			if _, err := in.ReadString('\n'); err != nil {
				return err
			}
		case "io":
			w, err := writeBytes(os.Getpid())
			if err != nil {
				return err
			}
			fmt.Println("wrote", w)
		case "sensor":
			if err := describe(arg); err != nil {
				return err
			}
		default:
			return fmt.Errorf("no role %q", verb)
		}
	}
	return nil
}

// writeInThreads leaves its threads waiting, with what they wrote.
func writeInThreads(arg string) error {
	done := make(chan error)
	for i := range 4 {
		go func() {
			runtime.LockOSThread()
			name, n, _ := strings.Cut(arg, ":")
			done <- play([]string{fmt.Sprintf("write:%s%d:%s", name, i, n)})
			select {}
		}()
	}
	var errs []error
	for range 4 {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// describe prints the source and what is missing of a sensor opened here.
func describe(cgroups string) error {
	// The parent may have raised it, and it is inherited.
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 65536, Max: 65536}); err != nil {
		return err
	}
	s, err := Open(Config{Cgroup: cgroups})
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Snapshot(); err != nil {
		return err
	}
	fmt.Println(s.Source())
	for _, m := range s.Missing() {
		fmt.Println(m)
	}
	return nil
}

func cpuTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

func writeBytes(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			return strconv.ParseUint(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, errors.New("no write_bytes")
}

// actor is a child that plays a role.
type actor struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start runs a role, born inside the cgroup dir unless that is empty.
func start(t testing.TB, dir string, steps ...string) *actor {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), roleEnv+"="+strings.Join(steps, ","), "GOMAXPROCS=1")
	c.Stderr = os.Stderr
	if dir != "" {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	}
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
	a := &actor{t: t, cmd: c, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		if a.cmd.ProcessState == nil {
			_ = a.cmd.Process.Kill()
			_ = a.cmd.Wait()
		}
	})
	return a
}

// line reads one line of the actor's.
func (a *actor) line() string {
	a.t.Helper()
	s, err := a.out.ReadString('\n')
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

// ready waits until the actor waits.
func (a *actor) ready() *actor {
	a.t.Helper()
	if s := a.line(); s != "ready" {
		a.t.Fatalf("actor says %q", s)
	}
	return a
}

func (a *actor) goOn() *actor {
	a.t.Helper()
	if _, err := io.WriteString(a.in, "\n"); err != nil {
		a.t.Fatal(err)
	}
	return a
}

// wrote reads what the actor's own accounting says it wrote so far.
func (a *actor) wrote() uint64 {
	a.t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(a.line(), "wrote "), 10, 64)
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

// kill ends the actor in the middle of what it does.
func (a *actor) kill() {
	a.t.Helper()
	if err := a.cmd.Process.Kill(); err != nil {
		a.t.Fatal(err)
	}
	_ = a.cmd.Wait() // it says that it was killed
}

// end waits for the actor and says what CPU time the kernel billed it.
func (a *actor) end() time.Duration {
	a.t.Helper()
	if err := a.cmd.Wait(); err != nil {
		a.t.Fatal(err)
	}
	return a.cmd.ProcessState.UserTime() + a.cmd.ProcessState.SystemTime()
}
