package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestReuse gives the number of a process that connected, and passed its socket
// on, to another process. It happens in a pid namespace of its own, where
// ns_last_pid sets the next number (pid_namespaces(7)); the host's numbers and
// mounts are not touched.
func TestReuse(t *testing.T) {
	needRoot(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), programEnv+"=reuse")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// A node in namespaces of its own refuses who is outside of them.
func TestForeign(t *testing.T) {
	needRoot(t)
	outside, err := cgroup2()
	if err != nil {
		t.Skip(err)
	}
	inside, _ := leaf(t)
	dir := folder(t)
	d, err := os.Open(inside)
	must(t, err)
	defer d.Close()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), programEnv+"=foreign", "DIR="+dir, "OUTSIDE="+outside)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWCGROUP,
		UseCgroupFD: true, CgroupFD: int(d.Fd()), Pdeathsig: syscall.SIGKILL,
	}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	text := bufio.NewReader(out)
	line, err := text.ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatal(line, err)
	}
	c, err := dial(filepath.Join(dir, "node"))
	must(t, err)
	defer c.Close()
	rest, _ := io.ReadAll(text)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s%v", rest, err)
	}
}

// reuse is the first process of the namespace.
func reuse() error {
	if err := settle(); err != nil {
		return err
	}
	for _, f := range []func(string) error{reusedBeforeAccept, reusedAfterAccept, goneBeforeAccept} {
		dir, err := os.MkdirTemp("", "reuse")
		if err != nil {
			return err
		}
		if err := errors.Join(f(dir), os.RemoveAll(dir)); err != nil {
			return err
		}
	}
	return nil
}

// successor runs a program that has the number of one that ended.
func successor(pid int) (*program, error) {
	for range 200 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			return nil, err
		}
		p, err := start("")
		if err != nil {
			return nil, err
		}
		if p.cmd.Process.Pid == pid {
			return p, nil
		}
		if err := p.end(); err != nil { // a thread of this program was faster
			return nil, err
		}
	}
	return nil, fmt.Errorf("number %d was never given again", pid)
}

// reusedBeforeAccept: what a check of the start time alone takes for good.
func reusedBeforeAccept(dir string) error {
	s, l, err := open(Config{NoPeerPidfd: true}, filepath.Join(dir, "node"))
	if err != nil {
		return err
	}
	defer l.Close()
	first, err := start("")
	if err != nil {
		return err
	}
	thief, err := start("")
	if err != nil {
		return err
	}
	defer thief.end()
	if err := errors.Join(
		first.do("connect %s", filepath.Join(dir, "node")),
		first.do("write first"),
		passOn(first, thief, filepath.Join(dir, "pass")),
		first.end()); err != nil {
		return err
	}
	second, err := successor(first.cmd.Process.Pid)
	if err != nil {
		return err
	}
	defer second.end()
	time.Sleep(2 * tick)
	raw, err := l.Accept()
	if err != nil {
		return err
	}
	defer raw.Close()
	c, info, err := s.ServerHandshake(raw)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	id := info.(*Identity)
	if id.Peer.PID != second.cmd.Process.Pid || id.Peer.StartTime > raw.(*conn).accepted {
		return fmt.Errorf("%+v: the start time says it, so this test shows nothing", id.Peer)
	}
	// What the first process wrote carries the number, and proves nothing.
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil || string(b[:n]) != "first" {
		return fmt.Errorf("read %q, %w", b[:n], err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := id.Check(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("check: %w, want it to wait for a proof", err)
	}
	if err := thief.do("write stolen"); err != nil {
		return err
	}
	n, err = c.Read(b)
	if err := wantReason(err, Passed); err != nil {
		return fmt.Errorf("read %q: %w", b[:n], err)
	}
	return wantReason(id.Check(context.Background()), Passed) // for good
}

func reusedAfterAccept(dir string) error {
	s, l, err := open(Config{NoPeerPidfd: true}, filepath.Join(dir, "node"))
	if err != nil {
		return err
	}
	defer l.Close()
	first, err := start("")
	if err != nil {
		return err
	}
	if err := first.do("connect %s", filepath.Join(dir, "node")); err != nil {
		return err
	}
	raw, err := l.Accept()
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := first.end(); err != nil {
		return err
	}
	time.Sleep(2 * tick)
	second, err := successor(first.cmd.Process.Pid)
	if err != nil {
		return err
	}
	defer second.end()
	_, _, err = s.ServerHandshake(raw)
	return wantReason(err, Reused)
}

// goneBeforeAccept: the kernel's own pidfd is not fooled by a successor.
func goneBeforeAccept(dir string) error {
	s, l, err := open(Config{}, filepath.Join(dir, "node"))
	if err != nil {
		return err
	}
	defer l.Close()
	first, err := start("")
	if err != nil {
		return err
	}
	if err := errors.Join(first.do("connect %s", filepath.Join(dir, "node")), first.end()); err != nil {
		return err
	}
	second, err := successor(first.cmd.Process.Pid)
	if err != nil {
		return err
	}
	defer second.end()
	raw, err := l.Accept()
	if err != nil {
		return err
	}
	defer raw.Close()
	_, _, err = s.ServerHandshake(raw)
	if !havePeerPidfd(raw.(*conn)) {
		// Then Check is what refuses; see reusedBeforeAccept.
		return nil
	}
	return wantReason(err, Exited)
}

// settle gives the first process of a pid namespace a /proc to it.
func settle() error {
	if os.Getpid() != 1 {
		return errors.New("not in a pid namespace of its own")
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	// Still the host's /proc, which knows other numbers.
	if _, err := New(Config{}); err == nil {
		return errors.New("a /proc of another pid namespace was accepted")
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	return nil
}

// foreign serves one process of another pid namespace and one of another cgroup
// namespace.
func foreign() error {
	if err := settle(); err != nil {
		return err
	}
	s, l, err := open(Config{}, filepath.Join(os.Getenv("DIR"), "node"))
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Println("ready")
	handshake := func() error {
		raw, err := l.Accept()
		if err != nil {
			return err
		}
		defer raw.Close()
		_, _, err = s.ServerHandshake(raw)
		return wantReason(err, Foreign)
	}
	if err := handshake(); err != nil {
		return fmt.Errorf("pid namespace: %w", err)
	}
	p, err := start(os.Getenv("OUTSIDE"))
	if err != nil {
		return err
	}
	defer p.end()
	if err := p.do("connect %s", filepath.Join(os.Getenv("DIR"), "node")); err != nil {
		return err
	}
	if err := handshake(); err != nil {
		return fmt.Errorf("cgroup namespace: %w", err)
	}
	return nil
}
