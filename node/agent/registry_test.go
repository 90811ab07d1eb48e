package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/node/agent"
	"github.com/cam-os/edge/node/observe"
)

// world is a registry over the kernel's own tree, in a slice of its own.
type world struct {
	*agent.Registry
	t      *testing.T
	h      *cgroup.Hierarchy
	leaves *agent.Leaves
	cfg    agent.Config
}

func newWorld(t *testing.T, change func(*agent.Config), earlier ...observe.Agent) *world {
	t.Helper()
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil || os.Geteuid() != 0 {
		t.Skipf("needs root and cgroup2: uid %d, %v", os.Geteuid(), err)
	}
	w := &world{t: t, h: h, cfg: agent.DefaultConfig()}
	w.cfg.Slice = fmt.Sprintf("cam-test-agent-%d-%d.slice", os.Getpid(), time.Now().UnixNano()%1e9)
	if change != nil {
		change(&w.cfg)
	}
	if w.leaves, err = agent.OpenLeaves(h, "/"+w.cfg.Slice); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.remove("/" + w.cfg.Slice) })
	if w.Registry, err = agent.Open(w.cfg, h, w.leaves, earlier); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) remove(path string) {
	children, _ := w.h.Children(path)
	for _, c := range children {
		w.remove(c)
	}
	for range 200 {
		if err := w.h.Remove(path); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Errorf("cannot remove %s", path)
}

// sleeper is a process to make an agent of; stop ends it.
func sleeper(t *testing.T) (pid int, stop func()) {
	t.Helper()
	cmd := exec.Command("sleep", "300")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(stop)
	return cmd.Process.Pid, stop
}

func (w *world) start(name string) (path string, stop func()) {
	w.t.Helper()
	pid, stop := sleeper(w.t)
	path, err := w.Start(context.Background(), name, pid)
	if err != nil {
		w.t.Fatal(err)
	}
	return path, stop
}

func (w *world) create(paths ...string) {
	w.t.Helper()
	for _, p := range paths {
		if err := w.h.Create(p); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) refresh() {
	w.t.Helper()
	if err := w.Refresh(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) state(name string) string {
	for _, a := range w.Agents() {
		if a.Name == name {
			return [...]string{"running", "empty", "ended", "absent"}[a.State]
		}
	}
	return "unknown"
}

func TestLifeOfAnAgent(t *testing.T) {
	w := newWorld(t, nil)
	path, stop := w.start("b")
	if w.state("b") != "running" || path != "/"+w.cfg.Slice+"/cam-b.scope" {
		t.Fatalf("%s is %s", path, w.state("b"))
	}
	id, err := w.h.ID(path)
	if err != nil {
		t.Fatal(err)
	}
	// What lies below an agent is the agent; what is beside it is not.
	parents := map[cgroup.ID]cgroup.ID{77: 66, 66: id, 5: 1}
	if got := w.Owner(77, parents); got != "b" {
		t.Errorf("a nested cgroup belongs to %q", got)
	}
	if got := w.Owner(5, parents); got != "" {
		t.Errorf("a foreign cgroup belongs to %q", got)
	}
	if got := w.Owner(8, map[cgroup.ID]cgroup.ID{8: 9, 9: 8}); got != "" {
		t.Errorf("a loop belongs to %q", got)
	}
	pid, _ := sleeper(t)
	if _, err := w.Start(context.Background(), "b", pid); !errors.Is(err, agent.ErrNameTaken) {
		t.Errorf("a second b: %v", err)
	}
	// An agent may make cgroups; they go with it.
	w.create(path+"/inner", path+"/inner/most")
	stop()
	for range 200 {
		w.refresh()
		if w.state("b") == "ended" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if w.state("b") != "ended" {
		t.Errorf("b is %s", w.state("b"))
	}
	if _, err := w.h.ID(path); err == nil {
		t.Error("the cgroup of an ended agent is still there")
	}
	// What it used last is read only now.
	if got := w.Owner(id, nil); got != "b" {
		t.Errorf("the last use of b is charged to %q", got)
	}
	for range 20 {
		w.refresh()
	}
	if got := w.Owner(id, nil); got != "" {
		t.Errorf("the id is remembered for ever, as %q", got)
	}
}

func TestScopesAreFoundAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.start("again")
	other, err := agent.Open(w.cfg, w.h, w.leaves, []observe.Agent{{Name: "again", Cgroup: "/elsewhere"}, {Name: "gone", Cgroup: "/gone"}, {Name: "NOT A NAME"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range other.Agents() {
		got = append(got, fmt.Sprint(a.Name, a.State))
	}
	if want := fmt.Sprint([]string{fmt.Sprint("again", observe.Running), fmt.Sprint("gone", observe.Ended)}); fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestInnermostAgentOfAPath(t *testing.T) {
	var outer string
	w := newWorld(t, func(c *agent.Config) {
		outer = "/" + c.Slice + "/outer"
		c.Known = []agent.Spec{{Name: "outer", Cgroup: outer}, {Name: "inner", Cgroup: outer + "/inner"}}
	})
	w.create(outer, outer+"/inner", outer+"/inner/deep")
	w.refresh()
	slice := "/" + w.cfg.Slice
	for path, want := range map[string]string{
		outer: "outer", outer + "/x": "outer", outer + "/inner": "inner", outer + "/inner/deep/er": "inner",
		outer + "r": "", outer + "/innermost": "outer", "/": "", "": "", "relative": "", slice: "",
		outer + "/inner/../..": "", slice + "/cam-new.scope/x": "new", slice + "/cam-.scope": "", slice + "/cam-Bad.scope": "",
		slice + "/cam-system.scope": "",
	} {
		if got, ok := w.AgentOf(path); got != want || ok != (want != "") {
			t.Errorf("%s is agent %q (%v), want %q", path, got, ok, want)
		}
	}
	pid, _ := sleeper(t)
	if _, err := w.Start(context.Background(), "inner", pid); !errors.Is(err, agent.ErrNameTaken) {
		t.Errorf("a configured name was given away: %v", err)
	}
}

func TestBounds(t *testing.T) {
	earlier := []observe.Agent{{Name: "old1", Cgroup: "/x1"}, {Name: "old2", Cgroup: "/x2"}}
	w := newWorld(t, func(c *agent.Config) { c.Max, c.MaxAccounts = 1, 2 }, earlier...)
	w.start("one")
	pid, _ := sleeper(t)
	if _, err := w.Start(context.Background(), "two", pid); !errors.Is(err, agent.ErrTooMany) {
		t.Errorf("more than agents.max: %v", err)
	}
	if got := w.Evict(); strings.Join(got, " ") != "old1" {
		t.Errorf("evicted %v, want the one that ended first", got)
	}
	if got := w.Evict(); got != nil {
		t.Errorf("evicted %v below the bound", got)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"", "Bad", "a b", "../x", "system", "idle", "unattributed", "retired", ".a", strings.Repeat("a", 64), "a\n"} {
		if _, err := w.Start(context.Background(), name, os.Getpid()); !errors.Is(err, agent.ErrInvalidName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	// A process that is not there leaves no cgroup behind.
	if path, err := w.Start(context.Background(), "ghost", 1<<22+1); err == nil {
		t.Errorf("a process that does not exist is in %s", path)
	}
	if _, err := w.h.ID("/" + w.cfg.Slice + "/cam-ghost.scope"); err == nil {
		t.Error("a failed start left its cgroup")
	}
	blind, err := agent.Open(w.cfg, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blind.Start(context.Background(), "a", os.Getpid()); !errors.Is(err, agent.ErrUnsupported) {
		t.Errorf("without cgroups: %v", err)
	}
	if err := blind.Refresh(); err != nil {
		t.Error(err)
	}
}

func TestCloseLeavesWhatIsInUse(t *testing.T) {
	w := newWorld(t, nil)
	w.start("b")
	if err := w.leaves.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.h.ID("/" + w.cfg.Slice); err != nil {
		t.Errorf("the slice is gone while an agent runs: %v", err)
	}
}

// A scope whose name the configuration gives to another cgroup is somebody
// else's: it is named, not silently taken over.
func TestNameOfAConfiguredAgentOnAScope(t *testing.T) {
	w := newWorld(t, nil)
	path, _ := w.start("b")
	cfg := w.cfg
	cfg.Known = []agent.Spec{{Name: "b", Cgroup: "/" + w.cfg.Slice + "/elsewhere"}}
	r, err := agent.Open(cfg, w.h, w.leaves, nil)
	if r == nil || err != nil {
		t.Fatalf("the clash must not keep the node from starting: %v", err)
	}
	defer r.Close()
	if err := r.Clash(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("clash: %v, want it to name %s", err, path)
	}
	id, err := w.h.ID(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Owner(id, nil); got != "" {
		t.Errorf("the scope is charged to %q", got)
	}
}

// An agent of an earlier run that the configuration now calls otherwise has an
// account, and no claim on the cgroup.
func TestRenamedAgentDoesNotShare(t *testing.T) {
	var path string
	w := newWorld(t, func(c *agent.Config) {
		path = "/" + c.Slice + "/robot"
		c.Known = []agent.Spec{{Name: "new", Cgroup: path}}
	}, observe.Agent{Name: "old", Cgroup: "/placeholder"})
	w.create(path)
	for _, known := range [][]agent.Spec{w.cfg.Known, nil} {
		cfg := w.cfg
		cfg.Known = known
		r, err := agent.Open(cfg, w.h, w.leaves, []observe.Agent{{Name: "old", Cgroup: path}})
		if err != nil {
			t.Fatal(err)
		}
		id, err := w.h.ID(path)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if known != nil {
			want = "new"
		}
		for range 20 {
			if err := r.Refresh(); err != nil {
				t.Fatal(err)
			}
			if got := r.Owner(id, nil); got != want {
				t.Fatalf("with %v the cgroup belongs to %q, want %q", known, got, want)
			}
		}
		r.Close()
	}
}

func TestKnownScopeIsRefused(t *testing.T) {
	cfg := agent.DefaultConfig()
	cfg.Known = []agent.Spec{{Name: "b", Cgroup: "/cam.slice/cam-a.scope"}}
	if err := cfg.Validate(); err == nil {
		t.Error("a scope of the node's was given a second name")
	}
}
