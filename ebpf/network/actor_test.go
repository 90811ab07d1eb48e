package network

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// The test binary is its own load: started with a role it plays it, in a
// network namespace and a cgroup of its own, and ends.
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

// play does what a role says, step by step: up (the loopback), card@lo@MTU,
// tcp@HOST@BYTES and udp@HOST@COUNT within the process, half (udp that waits
// halfway), refused@HOST@COUNT, lo (print the loopback's own counters), wait
// (for a line on standard input), open (print what a Counter says of itself).
func play(steps []string) error {
	in := bufio.NewReader(os.Stdin)
	for _, s := range steps {
		f := strings.Split(s, "@")
		var n int
		if len(f) == 3 {
			n, _ = strconv.Atoi(f[2])
		}
		var err error
		switch f[0] {
		case "up":
			err = loopbackUp()
		case "card":
			err = asCard(n)
		case "tcp":
			err = talkTCP(f[1], n)
		case "udp":
			err = talkUDP(f[1], n, nil)
		case "half":
			err = talkUDP(f[1], n, func() error {
				fmt.Println("ready")
				_, err := in.ReadString('\n')
				return err
			})
		case "refused":
			for range n {
				if _, err := net.Dial("tcp", net.JoinHostPort(f[1], "9")); !errors.Is(err, syscall.ECONNREFUSED) {
					return fmt.Errorf("not refused: %v", err)
				}
			}
		case "lo":
			err = printLoopback()
		case "wait":
			fmt.Println("ready")
			_, err = in.ReadString('\n')
		case "open":
			err = describe()
		default:
			err = fmt.Errorf("no role %q", s)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// asCard makes the loopback a card of this MTU that cannot cut packets up, so
// that the kernel does, right before it, and its counters say what comes out.
func asCard(mtu int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint32(uint32(mtu))
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, ifr); err != nil {
		return err
	}
	off := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_STSO}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&off)}
	copy(request.name[:], "lo")
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}

// talkTCP sends n bytes one way and lets both ends close with their sockets
// alive to the last packet, since those of TIME_WAIT are nobody's.
func talkTCP(host string, n int) error {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	defer l.Close()
	got := make(chan error, 1)
	served := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- err
			return
		}
		m, err := io.Copy(io.Discard, c)
		if err == nil && m != int64(n) {
			err = fmt.Errorf("%d of %d bytes came", m, n)
		}
		served <- c
		got <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	if _, err := c.Write(make([]byte, n)); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if err := <-got; err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	return errors.Join((<-served).Close(), c.Close())
}

const datagram = 100

// talkUDP sends to a socket of its own, and halfway does what it is told.
func talkUDP(host string, n int, half func() error) error {
	l, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("udp", l.LocalAddr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, datagram)
	for i := range n {
		if i == n/2 && half != nil {
			if err := half(); err != nil {
				return err
			}
		}
		if _, err := c.Write(b); err != nil {
			return err
		}
		if _, _, err := l.ReadFrom(b); err != nil {
			return err
		}
	}
	return nil
}

func printLoopback() error {
	b, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "lo:"); ok {
			f := strings.Fields(rest)
			fmt.Println("lo", f[0], f[1], f[8], f[9])
			return nil
		}
	}
	return errors.New("no loopback")
}

// actor is a process that plays a role in a cgroup.
type actor struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(t testing.TB, dir string, steps ...string) *actor {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	a := &actor{t: t, cmd: exec.Command(os.Args[0])}
	a.cmd.Env = append(os.Environ(), roleEnv+"="+strings.Join(append([]string{"up"}, steps...), ","))
	a.cmd.Stderr = os.Stderr
	a.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
		UseCgroupFD: true, CgroupFD: int(d.Fd()),
	}
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.out = bufio.NewReader(out)
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if a.cmd.ProcessState == nil {
			_ = a.cmd.Process.Kill()
			_ = a.cmd.Wait()
		}
	})
	return a
}

func (a *actor) line() string {
	a.t.Helper()
	s, err := a.out.ReadString('\n')
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

// lo is what the loopback of the actor's namespace counted.
func (a *actor) lo() (t Traffic) {
	a.t.Helper()
	s := a.line()
	if _, err := fmt.Sscanf(s, "lo %d %d %d %d", &t.ReceivedBytes, &t.ReceivedPackets, &t.SentBytes, &t.SentPackets); err != nil {
		a.t.Fatalf("%q: %v", s, err)
	}
	return t
}

func (a *actor) goOn() *actor {
	_, _ = io.WriteString(a.in, "\n")
	return a
}

func (a *actor) end() {
	a.t.Helper()
	if err := a.cmd.Wait(); err != nil {
		a.t.Fatal(err)
	}
}

// describe opens a Counter and prints what it lacks.
func describe() error {
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil {
		return err
	}
	c, err := Open(h, nil)
	if err != nil {
		fmt.Println("error:", err)
		return nil
	}
	fmt.Println("open")
	for _, m := range c.Missing() {
		fmt.Println(m)
	}
	return c.Close()
}
