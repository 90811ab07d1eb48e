package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manager is the receiving end of sd_notify(3).
type manager struct {
	t        *testing.T
	socket   *net.UnixConn
	messages chan string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{t: t, messages: make(chan string, 1000)}
	var err error
	path := filepath.Join(t.TempDir(), "notify")
	if m.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.socket.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := m.socket.Read(buf)
			if err != nil {
				close(m.messages)
				return
			}
			m.messages <- string(buf[:n])
		}
	}()
	return m
}

// connect starts a program with its notify socket and a watchdog of one second.
func (m *manager) connect(c *exec.Cmd) {
	c.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.socket.LocalAddr().String(), "WATCHDOG_USEC=1000000")
}

// expect waits for a message that has the text.
func (m *manager) expect(text string) string {
	m.t.Helper()
	for deadline := time.After(60 * time.Second); ; {
		select {
		case got := <-m.messages:
			if strings.Contains(got, text) {
				return got
			}
		case <-deadline:
			m.t.Fatalf("systemd was not told %q", text)
		}
	}
}

// silent says that no watchdog message comes for some time, after what is
// under way.
func (m *manager) silent(d time.Duration) bool {
	time.Sleep(500 * time.Millisecond)
	for len(m.messages) > 0 {
		<-m.messages
	}
	time.Sleep(d)
	var got []string
	for len(m.messages) > 0 {
		got = append(got, <-m.messages)
	}
	return !slices.Contains(got, "WATCHDOG=1")
}

// The watchdog is fed by samples: not by a node that is stuck, and not by one
// whose samples fail.
func TestWatchdogIsFedBySamples(t *testing.T) {
	// A procfs that can be taken away, for the sensor that reads it.
	procfs := t.TempDir()
	for _, name := range []string{"stat", "cpuinfo", "self", "uptime", "sys"} {
		if err := os.Symlink("/proc/"+name, filepath.Join(procfs, name)); err != nil {
			t.Fatal(err)
		}
	}
	m := newManager(t)
	d := newDevice(t, "sensor: {source: procfs}\n", "--path.procfs", procfs, "--interval", "400ms").start(m.connect)
	if got := m.expect("WATCHDOG_USEC"); got != "WATCHDOG_USEC=1200000" {
		t.Errorf("it asked for %s, three intervals are 1.2 s", got)
	}
	m.expect("READY=1")
	m.expect("WATCHDOG=1")

	stat := filepath.Join(procfs, "stat")
	if err := os.Remove(stat); err != nil {
		t.Fatal(err)
	}
	if !d.waitLog("level=ERROR") {
		t.Fatalf("samples do not fail:\n%s", d.log)
	}
	if !m.silent(2 * time.Second) {
		t.Error("failing samples feed the watchdog")
	}
	if err := os.Symlink("/proc/stat", stat); err != nil {
		t.Fatal(err)
	}
	m.expect("WATCHDOG=1")

	if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if !m.silent(2 * time.Second) {
		t.Error("a stopped process feeds the watchdog")
	}
	if err := d.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	m.expect("WATCHDOG=1")
	d.signal(syscall.SIGTERM)
	m.expect("STOPPING=1")
}

// A hangup takes the file up again; a mistake in it changes nothing and is
// named in the log and to systemd.
func TestReloadOnHangup(t *testing.T) {
	root(t)
	m := newManager(t)
	slice := fmt.Sprintf("cam-test-reload-%d.slice", os.Getpid())
	config := "agents: {slice: " + slice + ", max: 2}\n"
	d := newDevice(t, config).start(m.connect)
	t.Cleanup(func() { removeTree(t, "/"+slice) })
	agent := d.agent("a", "sleep", "300")
	file := filepath.Join(d.dir, "node.yaml")
	hangup := func(yaml string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		m.expect("RELOADING=1\nMONOTONIC_USEC=")
	}

	hangup("agents:\n  slice: " + slice + "\n  max: 0\n")
	if got := m.expect("READY=1"); !strings.Contains(got, "STATUS=configuration refused: "+file+": line 3: agents.max 0") {
		t.Errorf("systemd was told %q", got)
	}
	if !d.waitLog("the node goes on with what it had") {
		t.Errorf("the log does not say so:\n%s", d.log)
	}

	hangup("agents: {slice: " + slice + ", max: 1}\nstore: {commit_every: 5m}\n")
	if got := m.expect("READY=1"); !strings.HasSuffix(got, "STATUS=restart for: store") {
		t.Errorf("systemd was told %q", got)
	}
	out, err := d.ctl("run", "--name", "b", "--", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "agents.max is 1") {
		t.Errorf("a second agent: %v, %s", err, out)
	}

	hangup(config)
	if got := m.expect("READY=1"); !strings.HasSuffix(got, "STATUS=") {
		t.Errorf("systemd was told %q", got)
	}
	if out, err := d.ctl("run", "--name", "b", "--", "true").CombinedOutput(); err != nil {
		t.Errorf("a second agent: %v, %s", err, out)
	}
	if err := agent.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the agent did not live through it: %v", err)
	}
	d.signal(syscall.SIGTERM)
}
