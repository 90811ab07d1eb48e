package main

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A killed node must not take back anything that anybody saw: after SIGKILL
// and restart every counter about agents, system and zones is at least what it
// was in the last scrape.
func TestKilledNodeNeverGoesBack(t *testing.T) {
	root(t)
	d := newDevice(t, "").start()
	d.agent("burner", "sha256sum", "/dev/zero")
	for round := range 4 {
		// At different moments within the interval.
		time.Sleep(time.Duration(700+130*round) * time.Millisecond)
		before := d.series()
		d.signal(syscall.SIGKILL)
		d.start()
		for _, when := range []string{"at once", "later"} {
			after := d.series()
			for name, was := range before {
				if !isAccount(name) {
					continue
				}
				is, ok := after[name]
				if !ok {
					t.Errorf("round %d, %s: %s is gone", round, when, name)
				} else if is < was {
					t.Errorf("round %d, %s: %s went back from %v to %v", round, when, name, was, is)
				}
			}
			if len(before) < 20 {
				t.Fatalf("only %d series: %v", len(before), before)
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	if cpu := d.series()[`cam_agent_cpu_seconds_total{agent="burner",source="ebpf"}`]; cpu < 1 {
		t.Errorf("the burner has %v s of CPU time", cpu)
	}
}

// isAccount picks the counters that must survive; process_ and the probes are
// of one process.
func isAccount(series string) bool {
	name, _, _ := strings.Cut(series, "{")
	for _, prefix := range []string{"cam_agent_", "cam_system_", "cam_retired_", "cam_unattributed_", "cam_node_energy_joules",
		"cam_node_agents_", "cam_node_idle_energy", "cam_node_system_", "cam_node_unattributed_"} {
		if strings.HasPrefix(name, prefix) && strings.HasSuffix(name, "_total") {
			return true
		}
	}
	return false
}

// Agents are not the node's children: they live on when it stops, and are
// found again, with their accounts, when it starts.
func TestAgentsOutliveTheNode(t *testing.T) {
	root(t)
	d := newDevice(t, "").start()
	agent := d.agent("worker", "sleep", "300")
	d.signal(syscall.SIGTERM)
	if err := agent.Process.Signal(syscall.Signal(0)); err != nil {
		t.Fatalf("the agent ended with the node: %v", err)
	}
	d.start()
	if got := d.series()[`cam_agent_running{agent="worker"}`]; got != 1 {
		t.Errorf("after the restart cam_agent_running is %v", got)
	}
	// Its name is taken while it lives.
	if out, err := d.ctl("run", "--name", "worker", "--", "true").CombinedOutput(); err == nil || !strings.Contains(string(out), "taken") {
		t.Errorf("a second worker was started: %v %s", err, out)
	}
	_ = agent.Process.Kill()
	_ = agent.Wait()
	if !eventually(func() bool { return d.series()[`cam_agent_running{agent="worker"}`] == 0 }) {
		t.Error("the worker is dead and still shown as running")
	}
	// Then the name is free again, and the account goes on.
	before := d.series()[`cam_agent_cpu_seconds_total{agent="worker",source="ebpf"}`]
	out, err := d.ctl("run", "--name", "worker", "--", "burn", "300ms", "1").Output()
	if err != nil {
		t.Fatal(err)
	}
	used, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	want := before + float64(used)/1e9
	if !eventually(func() bool {
		return d.series()[`cam_agent_cpu_seconds_total{agent="worker",source="ebpf"}`] >= want*0.98
	}) {
		t.Errorf("the worker used %v s and has %v", want, d.series()[`cam_agent_cpu_seconds_total{agent="worker",source="ebpf"}`])
	}
}

func TestSecondNodeIsRefused(t *testing.T) {
	root(t)
	d := newDevice(t, "").start()
	for name, c := range map[string]struct{ state, socket, want string }{
		"one state directory": {d.dir + "/state", d.dir + "/other.sock", d.dir + "/state"},
		"one socket":          {d.dir + "/other", d.socket(), "in use"},
	} {
		out, err := exec.Command("cam-node", "run", "--state-dir", c.state, "--socket", c.socket, "--metrics-address", "").CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v, want a refusal that says %q:\n%s", name, err, c.want, out)
		}
	}
	if d.series()["cam_node_sample_failures_total"] != 0 {
		t.Error("the first node was disturbed")
	}
}
