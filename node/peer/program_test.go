package peer

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is also a program that does with sockets what it is told on
// its standard input: real processes, with ids and cgroups of their own.
const programEnv = "CAM_PEER_TEST_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(programEnv) {
	case "":
		os.Exit(m.Run())
	case "client":
		obey()
	case "reuse":
		report(reuse())
	case "foreign":
		report(foreign())
	}
	os.Exit(0)
}

func report(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// obey reads one command a line and answers each with a line.
func obey() {
	var conn *net.UnixConn
	var many []*net.UnixConn
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		f := strings.Fields(in.Text())
		var err error
		switch f[0] {
		case "become": // uid gid group,group
			err = become(f[1], f[2], f[3])
		case "connect":
			conn, err = dial(f[1])
		case "connect-many": // path number
			many, err = dialMany(f[1], f[2])
		case "count-open": // number
			err = countOpen(many, f[1])
		case "flood": // path number
			err = flood(f[1], f[2])
		case "write":
			_, err = io.WriteString(conn, f[1])
		case "write-with-descriptors":
			_, _, err = conn.WriteMsgUnix([]byte(f[1]), unix.UnixRights(0, 1, 2), nil)
		case "pass": // to whoever waits at a path
			err = pass(conn, f[1])
		case "receive":
			conn, err = receive(f[1])
		case "move": // oneself to a cgroup's directory
			err = os.WriteFile(f[1]+"/cgroup.procs", []byte("0"), 0)
		case "end-main-thread":
			go func() { time.Sleep(time.Minute) }()
			syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
		}
		fmt.Println(answer(err))
	}
}

func answer(err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return "ok"
}

func become(uid, gid, groups string) error {
	var gids []int
	for _, g := range strings.Split(groups, ",") {
		n, err := strconv.Atoi(g)
		if err != nil {
			return err
		}
		gids = append(gids, n)
	}
	u, _ := strconv.Atoi(uid)
	g, _ := strconv.Atoi(gid)
	return errors.Join(syscall.Setgroups(gids), syscall.Setgid(g), syscall.Setuid(u))
}

func dial(path string) (*net.UnixConn, error) {
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
}

// pass gives a connection's descriptor away and keeps none.
func pass(conn *net.UnixConn, to string) error {
	c, err := dial(to)
	if err != nil {
		return err
	}
	f, err := conn.File()
	if err != nil {
		return err
	}
	_, _, err = c.WriteMsgUnix([]byte("x"), unix.UnixRights(int(f.Fd())), nil)
	return errors.Join(err, f.Close(), conn.Close(), c.Close())
}

func receive(at string) (*net.UnixConn, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return nil, err
	}
	fmt.Println("ready")
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	if _, _, _, _, err = c.ReadMsgUnix(b, oob); err != nil {
		return nil, err
	}
	m, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	fds, err := unix.ParseUnixRights(&m[0])
	if err != nil {
		return nil, err
	}
	fc, err := net.FileConn(os.NewFile(uintptr(fds[0]), "passed"))
	if err != nil {
		return nil, err
	}
	return fc.(*net.UnixConn), nil
}

// program is one running.
type program struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// start runs one, in a cgroup's directory where that is not empty.
func start(cgroup string) (*program, error) {
	p := &program{cmd: exec.Command("/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), programEnv+"=client")
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if cgroup != "" {
		d, err := os.Open(cgroup)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		p.cmd.SysProcAttr.UseCgroupFD, p.cmd.SysProcAttr.CgroupFD = true, int(d.Fd())
	}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	return p, p.cmd.Start()
}

func (p *program) send(format string, args ...any) error {
	_, err := fmt.Fprintf(p.in, format+"\n", args...)
	return err
}

func (p *program) expect(want string) error {
	if !p.out.Scan() {
		return fmt.Errorf("the program ended: %w", p.out.Err())
	}
	if got := p.out.Text(); got != want {
		return fmt.Errorf("the program says %q, want %q", got, want)
	}
	return nil
}

func (p *program) do(format string, args ...any) error {
	return errors.Join(p.send(format, args...), p.expect("ok"))
}

// end ends it and reaps it.
func (p *program) end() error {
	if p.cmd.ProcessState != nil {
		return nil
	}
	return errors.Join(p.cmd.Process.Kill(), ignoreExit(p.cmd.Wait()))
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// passOn passes the connection from one program to another.
func passOn(from, to *program, at string) error {
	return errors.Join(
		to.send("receive %s", at), to.expect("ready"),
		from.do("pass %s", at), to.expect("ok"))
}

func run(t *testing.T, cgroup string) *program {
	t.Helper()
	p, err := start(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("needs root, and this is uid %d", os.Geteuid())
	}
}

// folder is one that every user can enter.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// cgroup2 is where cgroup2 is mounted.
func cgroup2() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(mounts) {
		before, after, _ := bytes.Cut(line, []byte(" - "))
		if f := bytes.Fields(before); bytes.HasPrefix(after, []byte("cgroup2 ")) && len(f) > 4 {
			return string(f[4]), nil
		}
	}
	return "", errors.New("no cgroup2 is mounted")
}

// leaf makes a cgroup; it returns its directory and its path.
func leaf(t *testing.T) (dir, path string) {
	t.Helper()
	needRoot(t)
	root, err := cgroup2()
	if err != nil {
		t.Skip(err)
	}
	path = fmt.Sprintf("/cam-test-peer-%d-%s", os.Getpid(), hex.EncodeToString([]byte(filepath.Base(t.Name()))))
	for i := 0; ; i++ {
		p := fmt.Sprintf("%.60s-%d", path, i)
		err := os.Mkdir(root+p, 0o755)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		must(t, err)
		t.Cleanup(func() {
			// The kernel takes a moment to let go of those that ended.
			for range 200 {
				if err = os.Remove(root + p); err == nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Error(err)
		})
		return root + p, p
	}
}
