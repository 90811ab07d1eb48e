package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/node/agent"
	"github.com/cam-os/edge/node/observe"
)

// site is a world whose container runtimes write their files below root.
type site struct {
	*world
	root string
}

func newSite(t *testing.T, known ...agent.Spec) *site {
	t.Helper()
	s := &site{root: t.TempDir()}
	s.world = newWorld(t, func(c *agent.Config) {
		c.Root = s.root
		for _, k := range known {
			// %s is the world's own place in the tree.
			k.Cgroup = strings.ReplaceAll(k.Cgroup, "%s", "/"+c.Slice)
			c.Known = append(c.Known, k)
		}
	})
	t.Cleanup(s.Close)
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	p := filepath.Join(s.root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// docker is what Docker keeps of a container.
func (s *site) docker(id, name string) {
	s.write("var/lib/docker/containers/"+id+"/config.v2.json", fmt.Sprintf(`{"ID":%q,"Name":"/%s"}`, id, name))
}

// below is a path in the world's own slice.
func (s *site) below(p string) string { return "/" + s.cfg.Slice + "/" + p }

func (s *site) id(p string) cgroup.ID {
	s.t.Helper()
	id, err := s.h.ID(p)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// put runs a process in a new cgroup.
func (s *site) put(p string) (stop func()) {
	s.t.Helper()
	s.create(p)
	pid, end := sleeper(s.t)
	if err := s.h.Move(p, pid); err != nil {
		s.t.Fatal(err)
	}
	return func() { end(); s.remove(p) }
}

func (s *site) find(name string) observe.Agent {
	for _, a := range s.Agents() {
		if a.Name == name {
			return a
		}
	}
	return observe.Agent{}
}

// mark tells the containers of this run from those of another beside it.
var mark = uint64(time.Now().UnixNano())

// containerID is the id of a container that does not exist.
func containerID(n int) string { return fmt.Sprintf("%016x%048x", mark, n) }

func scope(n int) string { return "docker-" + containerID(n) + ".scope" }

func TestContainerOutlivesItsID(t *testing.T) {
	s := newSite(t, agent.Spec{Name: "camera", Container: "camera-*"})
	if got := s.find("camera"); got.State != observe.Absent || got.Cgroup != "" {
		t.Errorf("before it was ever seen: %+v", got)
	}
	if got := fmt.Sprint(s.Unseen()); got != "[camera: there is no container camera-* yet]" {
		t.Error(got)
	}
	s.docker(containerID(1), "camera-front")
	s.docker(containerID(2), "other")
	first := s.below(scope(1))
	stop := s.put(first)
	s.put(s.below(scope(2)))
	s.create(first + "/container")
	s.refresh()
	if got := s.find("camera"); got.State != observe.Running || got.Cgroup != first || fmt.Sprint(got.Cgroups) != fmt.Sprint([]string{first}) {
		t.Fatalf("%+v", got)
	}
	if s.Unseen() != nil {
		t.Error(s.Unseen())
	}
	old := s.id(first)
	if got := s.Owner(s.id(s.below(scope(2))), nil); got != "" {
		t.Errorf("another container is %q", got)
	}
	for p, want := range map[string]string{first: "camera", first + "/container/deep": "camera", s.below(scope(2)): "", first + "x": ""} {
		if got, _ := s.AgentOf(p); got != want {
			t.Errorf("%s is %q, want %q", p, got, want)
		}
	}
	for p, want := range map[string]string{first + "/container": "camera-front", s.below(scope(2)): "other", "/": "", s.below("docker-x.scope"): "", s.below(scope(9)): ""} {
		if got, ok := s.Container(p); got != want || ok != (want != "") {
			t.Errorf("the container of %s is %q, want %q", p, got, want)
		}
	}

	// docker compose up --force-recreate
	s.remove(first + "/container")
	stop()
	s.docker(containerID(3), "camera-front")
	s.put(s.below(scope(3)))
	s.refresh()
	if got := s.find("camera"); got.State != observe.Running || got.Cgroup != s.below(scope(3)) || len(got.Cgroups) != 1 {
		t.Errorf("made anew: %+v", got)
	}
	if got := s.Owner(s.id(s.below(scope(3))), nil); got != "camera" {
		t.Errorf("the new one is %q", got)
	}
	// What the old one used last is read only now.
	if got := s.Owner(old, nil); got != "camera" {
		t.Errorf("the old one's last use is charged to %q", got)
	}
}

func TestReplicasAreOneAgent(t *testing.T) {
	s := newSite(t, agent.Spec{Name: "camera", Container: "camera-*"})
	var stops []func()
	for i := range 3 {
		s.docker(containerID(i), fmt.Sprint("camera-", i))
		stops = append(stops, s.put(s.below(scope(i))))
	}
	s.refresh()
	got := s.find("camera")
	want := []string{s.below(scope(2)), s.below(scope(1)), s.below(scope(0))}
	if got.State != observe.Running || got.Cgroup != want[0] || fmt.Sprint(got.Cgroups) != fmt.Sprint(want) {
		t.Errorf("got %+v", got)
	}
	for _, p := range want {
		if by := s.Owner(s.id(p), nil); by != "camera" {
			t.Errorf("%s is %q", p, by)
		}
	}
	before := got.Cgroups
	stops[2]()
	s.refresh()
	if got := s.find("camera"); got.State != observe.Running || fmt.Sprint(got.Cgroups) != fmt.Sprint(want[1:]) {
		t.Errorf("one less: %+v", got)
	}
	if fmt.Sprint(before) != fmt.Sprint(want) {
		t.Error("a list that was given out has changed")
	}
	// One that idles is enough for the agent to be there, none for it to end.
	stops[1]()
	s.create(s.below(scope(1)))
	stops[0]()
	s.refresh()
	if got := s.find("camera"); got.State != observe.Empty || got.Cgroup != s.below(scope(1)) {
		t.Errorf("an empty one left: %+v", got)
	}
	s.remove(s.below(scope(1)))
	s.refresh()
	if got := s.find("camera"); got.State != observe.Ended || got.Cgroup != s.below(scope(1)) || len(got.Cgroups) > 0 {
		t.Errorf("none left: %+v", got)
	}
}

// The same container under another driver, and Podman's ways.
func TestDriverThatRenames(t *testing.T) {
	s := newSite(t, agent.Spec{Name: "camera", Container: "camera"})
	s.docker(containerID(1), "camera")
	s.write("var/lib/containers/storage/overlay-containers/volatile-containers.json", fmt.Sprintf(`[{"id":%q,"names":["camera"]}]`, containerID(2)))
	s.create(s.below("docker"), s.below("libpod_parent"), s.below("camera.service"))
	for _, p := range []string{
		scope(1), "docker/" + containerID(1), containerID(1), s.cfg.Slice + ":docker:" + containerID(1),
		"libpod_parent/libpod-" + containerID(2), "libpod-" + containerID(2) + ".scope", "camera.service/libpod-payload-" + containerID(2),
	} {
		p = s.below(p)
		stop := s.put(p)
		s.create(path(p, "libpod-conmon-"+containerID(2)+".scope"))
		// A cgroup in one that had none may take as long as a walk is rare.
		for range 10 {
			s.refresh()
			if s.find("camera").State == observe.Running {
				break
			}
		}
		if got := s.find("camera"); got.State != observe.Running || fmt.Sprint(got.Cgroups) != fmt.Sprint([]string{p}) {
			t.Errorf("%s: %+v", p, got)
		}
		s.remove(path(p, "libpod-conmon-"+containerID(2)+".scope"))
		stop()
		s.refresh()
	}
}

func path(p, beside string) string { return filepath.Join(filepath.Dir(p), beside) }

const podUID = "72f7f152-440c-66ac-9084-e0fc1d8a910c"

func TestPods(t *testing.T) {
	s := newSite(t, agent.Spec{Name: "vision", Pod: "robots/vision-*/main"}, agent.Spec{Name: "all", Container: "*"})
	pod := s.below("pod" + podUID)
	s.create(pod)
	main, side, pause := pod+"/"+containerID(1), pod+"/"+containerID(2), pod+"/"+containerID(3)
	for _, p := range []string{main, side, pause} {
		s.put(p)
	}
	s.refresh()
	if got := s.find("vision"); got.State != observe.Absent {
		t.Errorf("without a name: %+v", got)
	}
	if got := fmt.Sprint(s.Unseen()); !strings.Contains(got, "vision: there is no pod robots/vision-*/main yet; ") {
		t.Error(got)
	}
	// The kubelet makes its links when they run already.
	for i, name := range []string{"", "vision-0_robots_main", "vision-0_robots_sidecar"} {
		if i > 0 {
			s.write("var/log/containers/"+name+"-"+containerID(i)+".log", "")
		}
	}
	s.write("run/containerd/io.containerd.runtime.v2.task/k8s.io/"+containerID(3)+"/config.json",
		`{"annotations":{"io.kubernetes.cri.sandbox-name":"vision-0","io.kubernetes.cri.sandbox-namespace":"robots"}}`)
	for range 4 {
		s.refresh()
	}
	if got := s.find("vision"); got.State != observe.Running || fmt.Sprint(got.Cgroups) != fmt.Sprint([]string{main}) {
		t.Errorf("%+v", got)
	}
	for p, want := range map[string]string{main: "robots/vision-0/main", side: "robots/vision-0/sidecar", pause: "robots/vision-0/POD"} {
		if got, _ := s.Container(p); got != want {
			t.Errorf("%s is %q, want %q", p, got, want)
		}
	}
	if got := s.find("all"); got.State != observe.Absent {
		t.Errorf("a pod's container is taken for Docker's: %+v", got)
	}
}

// A file that cannot be read is complained about, and the rest goes on.
func TestNamesThatCannotBeRead(t *testing.T) {
	s := newSite(t, agent.Spec{Name: "camera", Container: "camera"})
	for i := range 5 {
		s.write("var/lib/docker/containers/"+containerID(i)+"/config.v2.json", "damaged")
		s.create(s.below(scope(i)))
	}
	s.docker(containerID(7), "camera")
	s.put(s.below(scope(7)))
	if err := s.Refresh(); err == nil || strings.Count(err.Error(), "cannot name the container in") != 3 {
		t.Errorf("complaint: %v", err)
	}
	if s.state("camera") != "running" {
		t.Errorf("camera is %s", s.state("camera"))
	}
}
