package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/node/agent"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// running opens a node on this machine, in a slice of its own, and runs it.
func running(t *testing.T, cfg Config) (*Node, Config) {
	t.Helper()
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil || os.Geteuid() != 0 {
		t.Skipf("needs root and cgroup2: uid %d, %v", os.Geteuid(), err)
	}
	cfg.StateDir, cfg.Interval = t.TempDir(), 100*time.Millisecond
	cfg.Agents.Slice = fmt.Sprintf("cam-test-node-%d-%d.slice", os.Getpid(), time.Now().UnixNano()%1e9)
	n, err := Open(cfg, "test", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- n.Run(ctx, func() { close(ready) }, func() {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		_ = h.Remove("/" + cfg.Agents.Slice)
	})
	<-ready
	return n, cfg
}

// eventually waits for an observation that satisfies.
func eventually(t *testing.T, n *Node, what string, satisfies func(*observe.Observation) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for o := range n.Subscribe(ctx) {
		if satisfies(o) {
			return
		}
	}
	t.Fatalf("not within 20 s: %s", what)
}

func TestReloadTakesUpWhatCanChange(t *testing.T) {
	n, cfg := running(t, DefaultConfig())
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	// A cgroup that somebody else made, with a process in it.
	path := fmt.Sprintf("/cam-test-foreign-%d", os.Getpid())
	if err := h.Create(path); err != nil {
		t.Fatal(err)
	}
	p := exec.Command("sleep", "300")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
		for range 200 {
			if h.Remove(path) == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("cannot remove %s", path)
	})
	if err := h.Move(path, p.Process.Pid); err != nil {
		t.Fatal(err)
	}
	state := func(o *observe.Observation) observe.State { return o.Agents["foreign"].State }

	next := cfg
	next.Agents.Known = []agent.Spec{{Name: "foreign", Cgroup: path}}
	next.Interval, next.Energy = 250*time.Millisecond, EnergyConfig{IdleWatts: 3, MaxWatts: 9}
	next.Agents.Max = 3
	if restart, err := n.Reload(next); err != nil || len(restart) > 0 {
		t.Fatalf("restart for %v, %v", restart, err)
	}
	eventually(t, n, "the agent runs", func(o *observe.Observation) bool { return state(o) == observe.Running })
	if name, ok := n.AgentOf(path); !ok || name != "foreign" {
		t.Errorf("%s is of %q", path, name)
	}
	eventually(t, n, "the interval is longer", func(o *observe.Observation) bool { return o.Interval > 200*time.Millisecond })
	eventually(t, n, "3 W idle", func(o *observe.Observation) bool {
		return slices.ContainsFunc(o.Zones, func(z ledger.ZoneAccount) bool { return z.Reading.Idle.Watts() == 3 })
	})

	// What is wrong changes nothing.
	bad := next
	bad.Interval = time.Nanosecond
	if _, err := n.Reload(bad); err == nil || !strings.HasPrefix(err.Error(), "interval") {
		t.Errorf("a bad interval: %v", err)
	}
	if got := *n.cfg.Load(); !reflect.DeepEqual(got, next) {
		t.Errorf("after a bad one it runs with %+v", got)
	}

	// An agent that is not listed any more ends, and its account stays.
	if _, err := n.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, n, "the agent has ended", func(o *observe.Observation) bool { return state(o) == observe.Ended })
	if name, ok := n.AgentOf(path); ok {
		t.Errorf("%s is still of %q", path, name)
	}
}

// Every key is either taken up or named as one for a restart.
func TestReloadForgetsNoKey(t *testing.T) {
	n, cfg := running(t, DefaultConfig())
	for _, c := range []struct {
		want   string
		change func(*Config)
	}{
		{"state_dir", func(c *Config) { c.StateDir = "/elsewhere" }},
		{"socket", func(c *Config) { c.Socket = "/elsewhere" }},
		{"path", func(c *Config) { c.Path.Sysfs = "/elsewhere" }},
		{"sensor", func(c *Config) { c.Sensor.MaxCgroups = 7 }},
		{"energy.ignore", func(c *Config) { c.Energy.Ignore = []string{"gpu*"} }},
		{"energy.board", func(c *Config) { c.Energy.Board = []string{"in*"} }},
		{"agents.slice", func(c *Config) { c.Agents.Slice = "other.slice" }},
		{"metrics", func(c *Config) { c.Metrics.Address = "localhost:1" }},
		{"store", func(c *Config) { c.Store.CommitEvery = time.Hour }},
		{"", func(c *Config) { c.Interval = time.Minute }},
		{"", func(c *Config) { c.Energy = EnergyConfig{IdleWatts: 1, MaxWatts: 2} }},
		{"", func(c *Config) {
			c.Agents.Max, c.Agents.MaxAccounts, c.Agents.Known = 9, 10, []agent.Spec{{Name: "a", Unit: "a.service"}}
		}},
	} {
		next := cfg
		c.change(&next)
		restart, err := n.Reload(next)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(restart, " "); got != c.want {
			t.Errorf("restart for %q, want %q", got, c.want)
		}
		if got := *n.cfg.Load(); c.want == "" && !reflect.DeepEqual(got, next) {
			t.Errorf("it runs with %+v, want %+v", got, next)
		} else if c.want != "" && !reflect.DeepEqual(got, cfg) {
			t.Errorf("%s was taken up without a restart", c.want)
		}
		if _, err := n.Reload(cfg); err != nil {
			t.Fatal(err)
		}
	}
	// Of the top level, none is missing above.
	covered := map[string]bool{"StateDir": true, "Socket": true, "Path": true, "Sensor": true, "Agents": true,
		"Metrics": true, "Store": true, "Interval": true, "Energy": true}
	for f := range reflect.TypeFor[Config]().Fields() {
		if !covered[f.Name] {
			t.Errorf("what becomes of %s on reload? Say so in Reload or needRestart, and here", f.Name)
		}
	}
}
