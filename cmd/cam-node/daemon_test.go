package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// burn uses CPU time: burn DURATION [TIMES] runs TIMES processes one after
// another that burn DURATION each. It prints what rusage says all of them used,
// in nanoseconds, without what camctl used before it became this program.
func burn() {
	before := used(unix.RUSAGE_SELF)
	d, err := time.ParseDuration(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if len(os.Args) == 2 {
		for used(unix.RUSAGE_SELF)-before < d {
		}
		return
	}
	times, _ := strconv.Atoi(os.Args[2])
	for range times {
		if err := exec.Command("burn", os.Args[1]).Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	fmt.Println(int64(used(unix.RUSAGE_SELF) - before + used(unix.RUSAGE_CHILDREN)))
}

func used(who int) time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(who, &ru); err != nil {
		panic(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// device is a real cam-node in a process of its own.
type device struct {
	t       *testing.T
	dir     string
	args    []string
	cmd     *exec.Cmd
	log     *lockedBuffer
	metrics string
	bin     string // where the programs are, when not on the PATH
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newDevice prepares a node with directories and a slice of its own. YAML is
// added to its configuration.
func newDevice(t *testing.T, yaml string, args ...string) *device {
	t.Helper()
	// In memory where that can be had, so that the live copy lies here too and
	// goes with the test.
	dir, err := os.MkdirTemp("/dev/shm", "cam")
	if err != nil {
		dir, err = os.MkdirTemp("", "cam")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	slice := fmt.Sprintf("cam-test-%d-%d.slice", os.Getpid(), time.Now().UnixNano()%1e6)
	if !strings.Contains(yaml, "agents:") {
		yaml += "agents: {slice: " + slice + "}\n"
		t.Cleanup(func() { removeTree(t, "/"+slice) })
	}
	config := filepath.Join(dir, "node.yaml")
	if err := os.WriteFile(config, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, dir: dir}
	d.args = append([]string{"run", "--config", config, "--state-dir", filepath.Join(dir, "state"),
		"--socket", d.socket(), "--metrics-address", "127.0.0.1:0", "--interval", "200ms"}, args...)
	return d
}

func (d *device) socket() string { return filepath.Join(d.dir, "cam.sock") }

// start runs it and waits until it is up.
func (d *device) start(attr ...func(*exec.Cmd)) *device {
	d.t.Helper()
	d.launch(attr...)
	if !d.waitLog("node is up") {
		d.t.Fatalf("the node did not come up:\n%s", d.log)
	}
	d.metrics = regexp.MustCompile(`url=(\S+)`).FindStringSubmatch(d.log.String())[1]
	return d
}

func (d *device) launch(attr ...func(*exec.Cmd)) {
	d.t.Helper()
	d.log = &lockedBuffer{}
	d.cmd = exec.Command(filepath.Join(d.bin, "cam-node"), d.args...)
	d.cmd.Stderr = d.log
	for _, f := range attr {
		f(d.cmd)
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	cmd := d.cmd
	d.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
}

func (d *device) waitLog(text string) bool {
	return eventually(func() bool { return strings.Contains(d.log.String(), text) })
}

// eventually is patient: these machines are noisy.
func eventually(f func() bool) bool {
	for range 1200 {
		if f() {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

func (d *device) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
	err := d.cmd.Wait()
	if s == syscall.SIGTERM && err != nil {
		d.t.Fatalf("SIGTERM: %v\n%s", err, d.log)
	}
}

// ctl runs camctl against it.
func (d *device) ctl(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(d.bin, "camctl"), args...)
	cmd.Env = append(os.Environ(), "CAM_SOCKET="+d.socket())
	return cmd
}

// agent starts a program as an agent and returns its process, which ends with
// the test.
func (d *device) agent(name string, program ...string) *exec.Cmd {
	d.t.Helper()
	cmd := d.ctl(append([]string{"run", "--name", name, "--"}, program...)...)
	var stderr lockedBuffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	if !eventually(func() bool { return d.series()[`cam_agent_running{agent="`+name+`"}`] == 1 }) {
		d.t.Fatalf("agent %s does not run: %s\n%s", name, &stderr, d.log)
	}
	return cmd
}

// series scrapes all samples by their name and labels.
func (d *device) series() map[string]float64 {
	d.t.Helper()
	resp, err := http.Get(d.metrics)
	if err != nil {
		d.t.Fatalf("scrape: %v\n%s", err, d.log)
	}
	defer resp.Body.Close()
	return parseSeries(d.t, resp.Body)
}

func parseSeries(t *testing.T, r io.Reader) map[string]float64 {
	t.Helper()
	out := make(map[string]float64)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		i := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out[line[:i]] = v
	}
	return out
}

// removeTree removes a cgroup and those below it, once their processes are
// gone.
func removeTree(t *testing.T, path string) {
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil {
		return
	}
	children, err := h.Children(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	for _, c := range children {
		removeTree(t, c)
	}
	if !eventually(func() bool {
		err := h.Remove(path)
		return err == nil || errors.Is(err, fs.ErrNotExist)
	}) {
		t.Errorf("cannot remove the cgroup %s", path)
	}
}

func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to load eBPF and make cgroups: this is uid", os.Geteuid())
	}
}

// inProcess runs the daemon inside the test, for what needs no process of its
// own.
func inProcess(t *testing.T, d *device) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	d.log = &lockedBuffer{}
	done := make(chan error, 1)
	go func() {
		cmd := newRunCommand()
		cmd.SetArgs(d.args[1:])
		cmd.SetErr(d.log)
		cmd.SetOut(d.log)
		done <- cmd.ExecuteContext(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the node ended with %v\n%s", err, d.log)
		}
	})
	if !d.waitLog("node is up") {
		t.Fatalf("the node did not come up:\n%s", d.log)
	}
	d.metrics = regexp.MustCompile(`url=(\S+)`).FindStringSubmatch(d.log.String())[1]
}
