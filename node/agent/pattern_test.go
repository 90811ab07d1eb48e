package agent_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cam-os/edge/node/agent"
	"github.com/cam-os/edge/node/observe"
)

// Of two patterns the earlier line counts, and what is named exactly counts
// before any pattern.
func TestTwoPatternsOneCgroup(t *testing.T) {
	s := newSite(t,
		agent.Spec{Name: "paths", Cgroup: "%s/docker-*1.scope"},
		agent.Spec{Name: "front", Container: "camera-front"},
		agent.Spec{Name: "cameras", Container: "camera-*"},
		agent.Spec{Name: "exact", Cgroup: "%s/" + scope(4)},
	)
	for i, name := range []string{"camera-front", "camera-front", "camera-rear", "lidar", "camera-exact"} {
		s.docker(containerID(i), name)
		s.put(s.below(scope(i)))
	}
	for range 2 {
		for i, want := range []string{"front", "paths", "cameras", "", "exact"} {
			// Before a Refresh has seen it, too.
			if got, _ := s.AgentOf(s.below(scope(i) + "/x")); got != want {
				t.Errorf("a process in %d is %q, want %q", i, got, want)
			}
		}
		s.refresh()
		for i, want := range []string{"front", "paths", "cameras", "", "exact"} {
			if got := s.Owner(s.id(s.below(scope(i))), nil); got != want {
				t.Errorf("%d is %q, want %q", i, got, want)
			}
		}
	}
	// A pattern that was not known at first takes over, and is alone then.
	cfg := s.cfg
	cfg.Known = append([]agent.Spec{{Name: "first", Container: "camera-rear"}}, cfg.Known...)
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	s.refresh()
	if got := s.Owner(s.id(s.below(scope(2))), nil); got != "first" || s.state("cameras") != "ended" || s.state("first") != "running" {
		t.Errorf("after a reload: %q, cameras %s, first %s", got, s.state("cameras"), s.state("first"))
	}
	// One that is left out has no claim.
	cfg.Known = cfg.Known[2:]
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	s.refresh()
	if got := s.Owner(s.id(s.below(scope(1))), nil); got != "front" || s.state("paths") != "ended" {
		t.Errorf("after another: %q, paths %s", got, s.state("paths"))
	}
	if got, _ := s.AgentOf(s.below(scope(2))); got != "cameras" {
		t.Errorf("the rear camera is %q", got)
	}
}

func TestPatternOfPaths(t *testing.T) {
	s := newSite(t, agent.Spec{Name: "mapper", Cgroup: "%s/robots*/mapper-[0-9].scope"}, agent.Spec{Name: "greedy", Cgroup: "%s/*"})
	s.create(s.below("robots"), s.below("robots2"), s.below("robots/deep"), s.below("robots/deep/mapper-1.scope"), s.below("cam-own.scope"))
	s.put(s.below("robots/mapper-1.scope"))
	s.put(s.below("robots2/mapper-2.scope"))
	s.create(s.below("robots/mapper-x.scope"))
	s.refresh()
	if got := s.find("mapper"); got.State != observe.Running || len(got.Cgroups) != 2 {
		t.Errorf("%+v", got)
	}
	for p, want := range map[string]string{
		"robots/mapper-1.scope": "mapper", "robots2/mapper-2.scope": "mapper", "robots/deep/mapper-1.scope": "greedy",
		"robots/mapper-x.scope": "greedy", "cam-own.scope": "own",
	} {
		if got, _ := s.AgentOf(s.below(p)); got != want {
			t.Errorf("%s is %q, want %q", p, got, want)
		}
	}
	for _, p := range s.find("greedy").Cgroups {
		if strings.HasSuffix(p, "cam-own.scope") {
			t.Error("a pattern took a scope of the node's")
		}
	}
}

// Who may make a cgroup is who owns the one above: a user's containers are not
// the system's, whatever they are called.
func TestContainersOfUsers(t *testing.T) {
	s := newSite(t, agent.Spec{Name: "theirs", Container: "camera", User: "robot"}, agent.Spec{Name: "ours", Container: "camera"},
		agent.Spec{Name: "nobodys", Container: "camera", User: "ghost"})
	s.create(s.below("delegated"))
	dir, err := s.h.Dir(s.below("delegated"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	mine, forged := s.below("delegated/libpod-"+containerID(1)+".scope"), s.below("delegated/"+scope(2))
	s.put(mine)
	s.put(forged)
	s.docker(containerID(2), "camera")
	s.write("home/robot/.local/share/containers/storage/overlay-containers/containers.json", fmt.Sprintf(`[{"id":%q,"names":["camera"]}]`, containerID(1)))
	if err := s.Refresh(); err == nil || !strings.Contains(err.Error(), `no user "robot"`) {
		t.Errorf("without a passwd: %v", err)
	}
	s.write("etc/passwd", "robot:x:1000:1000::/home/robot:/bin/sh\n")
	if err := s.Refresh(); err == nil || strings.Contains(err.Error(), "robot") || !strings.Contains(err.Error(), `no user "ghost"`) {
		t.Errorf("with one: %v", err)
	}
	if got := s.Owner(s.id(mine), nil); got != "theirs" {
		t.Errorf("the user's container is %q", got)
	}
	if got := s.Owner(s.id(forged), nil); got != "" {
		t.Errorf("a user took the name of the system's container: %q", got)
	}
	if got, _ := s.AgentOf(forged); got != "" {
		t.Errorf("and its identity: %q", got)
	}
	if got, ok := s.Container(mine); got != "camera" || !ok {
		t.Errorf("named %q", got)
	}
	// Nobody asked for the containers of users: their homes are left alone.
	cfg := s.cfg
	cfg.Known = nil
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	s.refresh()
	if got, ok := s.Container(mine); ok {
		t.Errorf("a user's container was looked up: %q", got)
	}
}

func TestClashGoesWithTheSlice(t *testing.T) {
	w := newWorld(t, nil)
	scope, stop := w.start("b")
	cfg := w.cfg
	cfg.Known = []agent.Spec{{Name: "b", Container: "b"}}
	cfg.Root = t.TempDir()
	r, err := agent.Open(cfg, w.h, w.leaves, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Clash(); err == nil || !strings.Contains(err.Error(), "container b") {
		t.Errorf("clash: %v", err)
	}
	stop()
	w.remove(scope)
	w.remove("/" + w.cfg.Slice)
	if err := r.Refresh(); err != nil || r.Clash() != nil {
		t.Errorf("without the slice: %v, %v", err, r.Clash())
	}
}

func TestAbsentIsNotEnded(t *testing.T) {
	w := newWorld(t, func(c *agent.Config) {
		c.Known = []agent.Spec{{Name: "never", Unit: "never.service"}, {Name: "once", Cgroup: "/once"}}
		c.Max = 2
	}, observe.Agent{Name: "once", Cgroup: "/once"}, observe.Agent{Name: "never"})
	if w.state("never") != "absent" || w.state("once") != "ended" {
		t.Errorf("never %s, once %s", w.state("never"), w.state("once"))
	}
	if got := fmt.Sprint(w.Unseen()); got != "[never: there is no cgroup /system.slice/never.service yet]" {
		t.Error(got)
	}
	w.start("one") // an absent agent takes no place
	cfg := w.cfg
	cfg.Known = nil
	if err := w.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	w.refresh()
	if w.state("never") != "ended" || w.Unseen() != nil {
		t.Errorf("not listed any more: %s, %v", w.state("never"), w.Unseen())
	}
	pid, _ := sleeper(t)
	if _, err := w.Start(t.Context(), "never", pid); err != nil {
		t.Errorf("its name is free: %v", err)
	}
}
