package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// nobody is an ordinary user. (65534 is none: the kernel shows it for users of
// foreign namespaces, and the node refuses it.)
const nobody = 61234

func asNobody(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
}

// forOthers copies the program to where an ordinary user may run it.
func (d *device) forOthers() {
	d.t.Helper()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		d.t.Fatal(err)
	}
	d.bin = filepath.Join(d.dir, "bin")
	if err := os.MkdirAll(d.bin, 0o755); err != nil {
		d.t.Fatal(err)
	}
	for i, name := range []string{"cam-node", "camctl", "burn"} {
		if i == 0 {
			err = os.WriteFile(filepath.Join(d.bin, name), program, 0o755)
		} else {
			err = os.Link(filepath.Join(d.bin, "cam-node"), filepath.Join(d.bin, name))
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
	if err := os.Chown(d.dir, nobody, nobody); err != nil {
		d.t.Fatal(err)
	}
}

// leaf makes a cgroup for one test.
func leaf(t *testing.T, name string) (dir, path string) {
	t.Helper()
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil {
		t.Skip("no cgroup2 here:", err)
	}
	path = fmt.Sprintf("/cam-test-%s-%d", name, os.Getpid())
	if err := h.Create(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTree(t, path) })
	if dir, err = h.Dir(path); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

// in makes a command start inside a cgroup.
func in(t *testing.T, dir string) func(*exec.Cmd) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return func(cmd *exec.Cmd) {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(f.Fd())
	}
}

// An ordinary user gets a node that works with what is left, says what is
// missing, and does not pretend.
func TestOrdinaryUser(t *testing.T) {
	root(t)
	dir, path := leaf(t, "known")
	burner := exec.Command("sha256sum", "/dev/zero")
	in(t, dir)(burner)
	if err := burner.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = burner.Process.Kill(); _ = burner.Wait() }()

	d := newDevice(t, "agents: {known: [{name: seen, cgroup: "+path+"}]}\n")
	d.forOthers()
	d.start(asNobody)
	if !eventually(func() bool { return d.series()[`cam_agent_cpu_seconds_total{agent="seen",source="cgroup"}`] > 0.5 }) {
		t.Errorf("the configured agent was not measured: %v\n%s", d.series(), d.log)
	}
	if d.series()["cam_missing_capabilities"] == 0 {
		t.Error("nothing is named as missing")
	}
	doctor, err := d.ctl("doctor").CombinedOutput()
	if err != nil {
		t.Errorf("camctl doctor: %v", err)
	}
	for _, want := range []string{"ordinary user", "cgroup", "degraded"} {
		if !strings.Contains(string(doctor), want) {
			t.Errorf("camctl doctor does not say %q:\n%s", want, doctor)
		}
	}
	out, err := d.ctl("run", "--name", "x", "--", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "root") {
		t.Errorf("camctl run: %v, want it to say what it needs:\n%s", err, out)
	}
}

// In a cgroup that is delegated to a user, that user starts agents.
func TestDelegatedCgroup(t *testing.T) {
	root(t)
	dir, path := leaf(t, "delegated")
	for _, f := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		if err := os.Chown(filepath.Join(dir, f), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	d := newDevice(t, "")
	d.forOthers()
	d.start(asNobody, in(t, dir))
	run := d.ctl("run", "--name", "mine", "--", filepath.Join(d.bin, "burn"), "400ms")
	asNobody(run)
	in(t, dir)(run)
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("camctl run: %v\n%s\n%s", err, out, d.log)
	}
	if !eventually(func() bool { return d.series()[`cam_agent_cpu_seconds_total{agent="mine",source="cgroup"}`] >= 0.39 }) {
		t.Errorf("the agent was not measured: %v", d.series())
	}
	found := false
	for name := range d.series() {
		found = found || strings.HasPrefix(name, "cam_agent_info") && strings.Contains(name, path+"/")
	}
	if !found {
		t.Errorf("the agent does not lie below %s: %v", path, d.series())
	}
	d.signal(syscall.SIGTERM)
}

// A cgroup that goes away within an interval, and one that comes back under
// the same path, change nothing that was charged before.
func TestKnownCgroupIsMadeAnew(t *testing.T) {
	root(t)
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil {
		t.Skip("no cgroup2 here:", err)
	}
	path := fmt.Sprintf("/cam-test-anew-%d", os.Getpid())
	d := newDevice(t, "agents: {known: [{name: anew, cgroup: "+path+"}]}\n")
	inProcess(t, d)
	cpu := func() float64 { return d.series()[`cam_agent_cpu_seconds_total{agent="anew",source="ebpf"}`] }
	total := 0.0
	for range 3 {
		if err := h.Create(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // the node learns of it
		dir, err := h.Dir(path)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("burn", "300ms")
		in(t, dir)(cmd)
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if !eventually(func() bool { return h.Remove(path) == nil }) {
			t.Fatal("cannot remove the cgroup")
		}
		total += 0.3
		if !eventually(func() bool { return cpu() >= total*0.98 }) {
			t.Errorf("%v s were used, %v are charged", total, cpu())
		}
	}
}
