package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/node/ledger"
)

// exits runs a program and checks its exit code: exits CODE PROGRAM ARGS...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT...]")
	}
	code := 0
	var failed *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &failed):
		code = failed.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if want, err := strconv.Atoi(args[0]); err != nil || code != want {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// TestScripts runs what needs no node.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(e *testscript.Env) error {
			e.Setenv("LANG", "C.UTF-8")
			e.Setenv("CAM_SOCKET", "")
			e.Setenv("UID", strconv.Itoa(os.Getuid()))
			return nil
		},
	})
}

// TestLiveScripts runs what talks to a real node on this kernel.
func TestLiveScripts(t *testing.T) {
	root(t)
	d := newDevice(t, "").start()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/live", RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(e *testscript.Env) error {
			e.Setenv("LANG", "C.UTF-8")
			e.Setenv("CAM_SOCKET", d.socket())
			e.Setenv("STATE", d.dir+"/state")
			return nil
		},
	})
}

// camctl runs a command inside the test.
func camctl(t *testing.T, d *device, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(append([]string{"camctl", "--socket", d.socket()}, args...), strings.NewReader(""), &out, &errs)
	if code != want {
		t.Fatalf("camctl %v: exit code %d, want %d\n%s%s", args, code, want, &out, &errs)
	}
	return out.String(), errs.String()
}

func TestCamctlInProcess(t *testing.T) {
	d := newDevice(t, "energy: {idle_watts: 4, max_watts: 20}\n")
	inProcess(t, d)
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{0, "system", []string{"agents", "--breakdown", "--sort", "cpu"}},
		{0, "SYSTEM BY CGROUP", []string{"agents", "--breakdown"}},
		{0, "no agents yet", []string{"agents"}},
		{0, "WATTS", []string{"top", "-n", "2", "--interval", "300ms"}},
		{0, `"boottime_nanoseconds"`, []string{"top", "-n", "1", "--json"}},
		{0, `"boottime_nanoseconds"`, []string{"observe", "--breakdown"}},
		{0, `"sequence"`, []string{"observe", "--follow", "-n", "2"}},
		{0, `"measured"`, []string{"observe", "-n", "2", "--json"}},
		{0, "residual 0 µJ", []string{"energy", "--since", "10m"}},
		{0, `"residual_microjoules": 0`, []string{"energy", "--json", "--step", "1s"}},
		{0, `"findings"`, []string{"doctor", "--json"}},
		{0, "0 failed", []string{"doctor"}},
		{0, "camctl ", []string{"version"}},
		{0, `"arch"`, []string{"version", "--json"}},
		{0, "system\n", []string{"__complete", "agents", ""}},
		{0, "package", []string{"__complete", "agents", "--zone", ""}},
		{0, "run queue", []string{"agent", "system"}},
		{0, `"step_nanoseconds": 5000000000`, []string{"agent", "system", "--json", "--since", "10m"}},
		{0, "DISK-WR", []string{"top", "-n", "1", "--view", "io"}},
		{0, "WAIT-P99", []string{"agents", "--wide"}},
		{1, "", []string{"agent", "nobody"}},
		{1, "", []string{"agent", "system", "--zone", "psys"}},
		{2, "", []string{"agent"}},
		{2, "", []string{"top", "--view", "colours"}},
		{1, "", []string{"agents", "nobody"}},
		{1, "", []string{"agents", "--zone", "psys"}},
		{1, "", []string{"energy", "--zone", "psys"}},
		{1, "", []string{"energy", "--agent", "nobody"}},
		{1, "", []string{"observe", "nobody"}},
		{1, "", []string{"observe", "-f", "nobody"}},
		{1, "", []string{"store", "check", d.dir + "/state"}},
		{2, "", []string{"top", "-n", "-1"}},
		{2, "", []string{"observe", "-n", "-1"}},
		{2, "", []string{"top", "--sort", "colour"}},
		{2, "", []string{"run", "--name", "system", "true"}},
		{2, "", []string{"energy", "--step", "1ms"}},
		{2, "", []string{"agents", "--sort", "colour"}},
		{2, "", []string{"run", "--name", "UPPER", "true"}},
		{2, "", []string{"store", "check", "--state-dir", "x", "y"}},
		{127, "", []string{"run", "--name", "a", "--", "no-such-program-anywhere"}},
		{126, "", []string{"run", "--name", "a", "--", "/etc/passwd"}},
	} {
		out, errs := camctl(t, d, c.code, c.args...)
		want := strings.TrimSuffix(c.want, "system\n") // no agents: nothing is offered but the directive
		if !strings.Contains(out, want) {
			t.Errorf("camctl %v: no %q in\n%s", c.args, c.want, out)
		}
		if c.code != 0 && (!strings.HasPrefix(errs, "camctl: ") || out != "") {
			t.Errorf("camctl %v: stdout %q, stderr %q", c.args, out, errs)
		}
	}
}

// The parts that a program reads sum to what was metered.
func TestEnergyOfTheNodeIsConserved(t *testing.T) {
	d := newDevice(t, "energy: {idle_watts: 4, max_watts: 20}\n")
	inProcess(t, d)
	if !eventually(func() bool {
		var o report.Observation
		out, _ := camctl(t, d, 0, "observe")
		if err := json.Unmarshal([]byte(out), &o); err != nil {
			t.Fatal(err)
		}
		m := report.Meter(o.Zones, "package")
		if m.Residual != 0 || m.Metered != m.Agents+m.System+m.Idling+m.Unattributed {
			t.Fatalf("not conserved: %+v", m)
		}
		return m.Metered > 0
	}) {
		t.Error("no energy at all")
	}
}

func TestStoreCheckAfterANode(t *testing.T) {
	d := newDevice(t, "").start()
	if _, errs := camctl(t, d, 1, "store", "check", d.dir+"/state"); !strings.Contains(errs, "stop the node first") {
		t.Errorf("got %s", errs)
	}
	d.signal(unix.SIGTERM)
	if out, _ := camctl(t, d, 0, "store", "check", "--state-dir", d.dir+"/state"); !strings.Contains(out, "all is well") {
		t.Errorf("got %s", out)
	}
	if out, _ := camctl(t, d, 0, "store", "check", d.dir+"/state", "--json"); !strings.Contains(out, `"problems": []`) {
		t.Errorf("got %s", out)
	}
	files, err := os.ReadDir(d.dir + "/state")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".db") {
			if err := os.WriteFile(d.dir+"/state/"+f.Name(), bytes.Repeat([]byte("not a database. "), 4096), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out, errs := camctl0(d, "store", "check", d.dir+"/state"); !strings.Contains(out, "problem") || !strings.Contains(errs, "damaged") {
		t.Errorf("got %s%s", out, errs)
	}
	// And without a node the other commands say so.
	for _, args := range [][]string{{"agents"}, {"agent", "a"}, {"agent", "a", "--watch"}, {"energy"}, {"observe"}, {"observe", "-f"}, {"top"}, {"doctor"}, {"run", "--name", "a", "true"}} {
		if _, errs := camctl(t, d, 3, args...); !strings.Contains(errs, "no node answers at "+d.socket()+": start one with") {
			t.Errorf("%v: %s", args, errs)
		}
	}
	camctl(t, d, 0, "__complete", "agents", "")
	camctl(t, d, 0, "__complete", "agents", "--zone", "")
}

func camctl0(d *device, args ...string) (stdout, stderr string) {
	var out, errs bytes.Buffer
	Main(append([]string{"camctl", "--socket", d.socket()}, args...), strings.NewReader(""), &out, &errs)
	return out.String(), errs.String()
}

// The table in a pipe goes on when the node is back.
func TestTopOutlivesTheNode(t *testing.T) {
	d := newDevice(t, "").start()
	top := d.ctl("top", "-n", "1000")
	var out, errs lockedBuffer
	top.Stdout, top.Stderr = &out, &errs
	if err := top.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = top.Process.Kill(); _ = top.Wait() }()
	tables := func() int { return strings.Count(out.String(), "NAME") }
	if !eventually(func() bool { return tables() > 0 }) {
		t.Fatalf("no table: %s", &errs)
	}
	d.signal(unix.SIGTERM)
	if !eventually(func() bool { return strings.Contains(errs.String(), "waiting for it") }) {
		t.Fatalf("it does not say that the node went away: %s", &errs)
	}
	before := tables()
	d.start()
	if !eventually(func() bool { return tables() > before && strings.Contains(errs.String(), "the node is back") }) {
		t.Errorf("it did not find the node again: %s", &errs)
	}
	if err := top.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := top.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

// onTerminal runs a program on a terminal of its own until it ends, and returns
// all that it wrote there.
func onTerminal(t *testing.T, cmd *exec.Cmd, input string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	defer func() { _ = master.Close() }()
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	var out lockedBuffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			_, _ = out.Write(buf[:n])
			if err != nil {
				return // EIO when the last one has left the terminal
			}
		}
	}()
	if input != "" {
		eventually(func() bool { return strings.Contains(out.String(), "WATTS") })
		if _, err := master.WriteString(input); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %v", cmd.Args, err)
	}
	<-read
	return out.String()
}

// A command that shows no interface never talks to the terminal: Bubble Tea
// would ask it for colours, and wait for an answer that a serial console never
// gives.
func TestTerminalsAreLeftAlone(t *testing.T) {
	d := newDevice(t, "").start()
	terminal := func(term string, args ...string) *exec.Cmd {
		cmd := d.ctl(args...)
		cmd.Env = append(cmd.Env, "TERM="+term, "LANG=C.UTF-8", "NO_COLOR=", "CI=") // termenv takes CI for no terminal
		return cmd
	}
	started := time.Now()
	for _, cmd := range []*exec.Cmd{
		terminal("xterm-256color", "version"),
		terminal("xterm-256color", "agents"),
		terminal("dumb", "top", "-n", "1"),
		terminal("xterm-256color", "top", "--plain", "-n", "1"),
	} {
		if out := onTerminal(t, cmd, ""); out == "" || strings.Contains(out, "\x1b") {
			t.Errorf("%v wrote %q", cmd.Args, out)
		}
	}
	t.Logf("took %v", time.Since(started))
	out := onTerminal(t, terminal("xterm-256color", "top"), "cq")
	if !strings.Contains(out, "\x1b[?1049h") || !strings.Contains(out, "\x1b[?1049l") {
		t.Errorf("the screen was not taken and given back: %q", out)
	}
	if !strings.Contains(out, "\x1b[1;36m") && !strings.Contains(out, "\x1b[36m") {
		t.Errorf("no colours: %q", out)
	}
	plain := terminal("xterm-256color", "top", "-n", "2")
	plain.Env = append(plain.Env, "NO_COLOR=1")
	if out := onTerminal(t, plain, ""); strings.Contains(out, "\x1b[1;36m") || strings.Contains(out, "\x1b[36m") {
		t.Errorf("colours in spite of NO_COLOR: %q", out)
	}
}

// The reports call the accounts that are no agents as the ledger does.
func TestAccountNames(t *testing.T) {
	for ours, theirs := range map[string]string{
		report.System: ledger.System, report.Idle: ledger.Idle, report.Unattributed: ledger.Unattributed, report.Retired: ledger.Retired,
	} {
		if ours != theirs {
			t.Errorf("%q is not %q", ours, theirs)
		}
	}
}
