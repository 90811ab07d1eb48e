package container_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/node/container"
)

// machine is a root with what runtimes write.
type machine struct {
	t    *testing.T
	root string
}

func newMachine(t *testing.T) machine { return machine{t, t.TempDir()} }

func (m machine) names() *container.Names { return container.New(m.root) }

func (m machine) path(name string) string {
	m.t.Helper()
	p := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		m.t.Fatal(err)
	}
	return p
}

func (m machine) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) link(name, to string) {
	m.t.Helper()
	if err := os.Symlink(to, m.path(name)); err != nil {
		m.t.Fatal(err)
	}
}

func docker(id, name string) string {
	quoted, _ := json.Marshal(name)
	return fmt.Sprintf(`{"StreamConfig":{},"ID":%q,"Name":%s,"Config":{"Labels":{"io.kubernetes.pod.name":"vision-0",
		"io.kubernetes.pod.namespace":"robots","io.kubernetes.container.name":"main"}}}`, id, quoted)
}

func stored(id, name string) string {
	return fmt.Sprintf(`[{"id":"short","names":["x"]},{"id":%q},{"id":%q,"names":[%q],"image":"","layer":"","metadata":"{}"}]`, idB, id, name)
}

func annotations(pairs ...string) string {
	var of []string
	for i := 0; i < len(pairs); i += 2 {
		of = append(of, fmt.Sprintf("%q: %q", pairs[i], pairs[i+1]))
	}
	return `{"ociVersion":"1.0.2","annotations":{` + strings.Join(of, ",") + `}}`
}

var (
	criContainer = annotations("io.kubernetes.cri.container-type", "container", "io.kubernetes.cri.container-name", "main",
		"io.kubernetes.cri.sandbox-name", "vision-0", "io.kubernetes.cri.sandbox-namespace", "robots")
	criSandbox = annotations("io.kubernetes.cri.container-type", "sandbox",
		"io.kubernetes.cri.sandbox-name", "vision-0", "io.kubernetes.cri.sandbox-namespace", "robots")
	crioContainer = annotations("io.kubernetes.container.name", "main", "io.kubernetes.cri-o.ContainerName", "k8s_main_vision-0_robots_x_0",
		"io.kubernetes.pod.name", "vision-0", "io.kubernetes.pod.namespace", "robots")
)

const containersJSON = "var/lib/containers/storage/overlay-containers/containers.json"

func TestNames(t *testing.T) {
	dockerAt := func(root string) string { return root + "/containers/" + idA + "/config.v2.json" }
	inPod := container.Ref{ID: idA, Pod: podUID}
	rootless := container.Ref{ID: idA, Owner: 1000, Runtime: container.Podman}
	const passwd = "etc/passwd"
	users := "broken\nu:x:nan:0::/x:/bin/sh\nrobot:x:1000:1000:Robot:/home/robot:/bin/sh\nrobot:x:1001:1::/other:/bin/sh\n"
	for name, c := range map[string]struct {
		ref   container.Ref
		files map[string]string
		want  string
	}{
		"docker":            {container.Ref{ID: idA, Runtime: container.Docker}, map[string]string{dockerAt("var/lib/docker"): docker(idA, "/camera")}, "camera"},
		"docker, cgroupfs":  {container.Ref{ID: idA}, map[string]string{dockerAt("var/lib/docker"): docker(idA, "/camera")}, "camera"},
		"docker's snap":     {container.Ref{ID: idA}, map[string]string{dockerAt("var/snap/docker/common/var-lib-docker"): docker(idA, "/camera")}, "camera"},
		"docker, moved":     {container.Ref{ID: idA}, map[string]string{"etc/docker/daemon.json": `{"data-root":"/data/docker"}`, dockerAt("data/docker"): docker(idA, "/camera")}, "camera"},
		"bad daemon.json":   {container.Ref{ID: idA}, map[string]string{"etc/docker/daemon.json": `{`, dockerAt("var/lib/docker"): docker(idA, "/camera")}, "camera"},
		"cri-dockerd":       {container.Ref{ID: idA, Pod: podUID, Runtime: container.Docker}, map[string]string{dockerAt("var/lib/docker"): docker(idA, "/k8s_main_vision-0_robots_x_0")}, "robots/vision-0/main"},
		"rootless docker":   {container.Ref{ID: idA, Owner: 1000, Runtime: container.Docker}, map[string]string{passwd: users, dockerAt("home/robot/.local/share/docker"): docker(idA, "/camera")}, "camera"},
		"podman":            {container.Ref{ID: idA, Runtime: container.Podman}, map[string]string{containersJSON: stored(idA, "camera")}, "camera"},
		"podman --rm":       {container.Ref{ID: idA, Runtime: container.Podman}, map[string]string{"var/lib/containers/storage/overlay-containers/volatile-containers.json": stored(idA, "camera")}, "camera"},
		"podman, transient": {container.Ref{ID: idA, Runtime: container.Podman}, map[string]string{"run/containers/storage/overlay-containers/volatile-containers.json": stored(idA, "camera")}, "camera"},
		"podman on vfs":     {container.Ref{ID: idA}, map[string]string{"var/lib/containers/storage/vfs-containers/containers.json": stored(idA, "camera")}, "camera"},
		"rootless podman":   {rootless, map[string]string{passwd: users, "home/robot/.local/share/containers/storage/overlay-containers/containers.json": stored(idA, "camera")}, "camera"},
		"rootless --rm":     {rootless, map[string]string{passwd: users, "run/user/1000/containers/overlay-containers/volatile-containers.json": stored(idA, "camera")}, "camera"},
		"kubelet":           {inPod, map[string]string{"var/log/containers/vision-0_robots_main-" + idA + ".log": ""}, "robots/vision-0/main"},
		"containerd":        {inPod, map[string]string{"run/containerd/io.containerd.runtime.v2.task/k8s.io/" + idA + "/config.json": criContainer}, "robots/vision-0/main"},
		"k3s":               {inPod, map[string]string{"run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/" + idA + "/config.json": criContainer}, "robots/vision-0/main"},
		"sandbox":           {inPod, map[string]string{"run/containerd/io.containerd.runtime.v2.task/k8s.io/" + idA + "/config.json": criSandbox}, "robots/vision-0/POD"},
		"cri-o":             {inPod, map[string]string{"run/containers/storage/overlay-containers/" + idA + "/userdata/config.json": crioContainer}, "robots/vision-0/main"},
		"cri-o, static":     {inPod, map[string]string{"var/lib/containers/storage/overlay-containers/" + idA + "/userdata/config.json": crioContainer}, "robots/vision-0/main"},

		// An image may have any label, a container any annotation: only below
		// the kubelet's cgroups does one make a pod.
		"forged pod":          {container.Ref{ID: idA}, map[string]string{dockerAt("var/lib/docker"): docker(idA, "/mine")}, "mine"},
		"another's file":      {container.Ref{ID: idA}, map[string]string{dockerAt("var/lib/docker"): docker(idB, "/camera")}, "error: another's"},
		"not a name":          {container.Ref{ID: idA}, map[string]string{dockerAt("var/lib/docker"): docker(idA, "/../x\x1b[2J")}, `error: gives the name "../x\x1b[2J"`},
		"no name":             {container.Ref{ID: idA}, map[string]string{dockerAt("var/lib/docker"): docker(idA, "")}, "error: gives the name"},
		"not JSON":            {container.Ref{ID: idA}, map[string]string{dockerAt("var/lib/docker"): "root:secret:"}, "error: not the JSON"},
		"too deep":            {container.Ref{ID: idA}, map[string]string{dockerAt("var/lib/docker"): strings.Repeat("[", 1<<19)}, "error: not the JSON"},
		"too large":           {container.Ref{ID: idA}, map[string]string{dockerAt("var/lib/docker"): docker(idA, "/camera") + strings.Repeat(" ", 1<<20)}, "error: more than 1048576 bytes"},
		"list of another":     {container.Ref{ID: idA, Runtime: container.Podman}, map[string]string{containersJSON: stored(idB, "camera")}, "absent"},
		"broken list":         {container.Ref{ID: idA, Runtime: container.Podman}, map[string]string{containersJSON: "{}"}, "error: not the JSON"},
		"root's is not users": {rootless, map[string]string{passwd: users, containersJSON: stored(idA, "camera")}, "absent"},
		"nobody's home":       {rootless, map[string]string{passwd: "root:x:0:0::/root:/bin/sh\n"}, "error: no home directory for uid 1000"},
		"odd links": {inPod, map[string]string{"var/log/containers/" + idA + ".log": "", "var/log/containers/-" + idA + ".log": "", "var/log/containers/a_b_c-" + idA: "",
			"var/log/containers/a_b_c_d-" + idA + ".log": "", "var/log/containers/x": ""}, "absent"},
		"odd link's name": {inPod, map[string]string{"var/log/containers/vision 0_robots_main-" + idA + ".log": ""}, "error: gives the name"},
		"no annotations":  {inPod, map[string]string{"run/containerd/io.containerd.runtime.v2.task/k8s.io/" + idA + "/config.json": "{}"}, "absent"},
		"user's kubelet":  {container.Ref{ID: idA, Pod: podUID, Owner: 1000}, map[string]string{"var/log/containers/vision-0_robots_main-" + idA + ".log": ""}, "absent"},
		"nobody knows":    {container.Ref{ID: idA}, nil, "absent"},
		"nerdctl":         {container.Ref{ID: idA, Runtime: container.Containerd}, nil, "absent"},
		"no id":           {container.Ref{ID: "../../etc"}, nil, "error: no container's id"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			for f, text := range c.files {
				m.write(f, text)
			}
			got, err := m.names().Of(c.ref)
			want, isError := strings.CutPrefix(c.want, "error: ")
			switch {
			case c.want == "absent":
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("got %q, %v", got, err)
				}
			case isError:
				if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, %v; want %q", got, err, want)
				} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\x1b") {
					t.Errorf("the error shows what is in the file: %q", err)
				}
			case err != nil || got.String() != want:
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

// A file that is none, or that lies elsewhere, is neither waited for nor read.
func TestHostileFiles(t *testing.T) {
	const home = "home/robot/.local/share/containers/storage/overlay-containers/containers.json"
	rootless := container.Ref{ID: idA, Owner: 1000, Runtime: container.Podman}
	for name, plant := range map[string]func(machine){
		"fifo": func(m machine) {
			if err := unix.Mkfifo(m.path(home), 0o666); err != nil {
				t.Fatal(err)
			}
		},
		"directory": func(m machine) { m.path(home + "/x") },
		"absolute link": func(m machine) {
			m.write("secret.json", stored(idA, "camera"))
			m.link(home, filepath.Join(m.root, "secret.json"))
		},
		"relative link": func(m machine) {
			m.write("secret.json", stored(idA, "camera"))
			m.link(home, "../../../../../../../secret.json")
		},
		"linked directory": func(m machine) {
			m.write("elsewhere/overlay-containers/containers.json", stored(idA, "camera"))
			m.link("home/robot/.local/share/containers/storage", filepath.Join(m.root, "elsewhere"))
		},
		"loop":   func(m machine) { m.link(home, "containers.json") },
		"device": func(m machine) { m.link(home, "/dev/zero") },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.write("etc/passwd", "robot:x:1000:1000::/home/robot:/bin/sh\n")
			plant(m)
			if got, err := m.names().Of(rootless); err == nil || got != (container.Name{}) {
				t.Errorf("read as %q", got)
			}
		})
	}
	// One that leads on within the home is the user's own affair.
	m := newMachine(t)
	m.write("etc/passwd", "robot:x:1000:1000::/home/robot:/bin/sh\n")
	m.write("home/robot/big/overlay-containers/containers.json", stored(idA, "camera"))
	m.link("home/robot/.local/share/containers/storage", "../../../big")
	if got, err := m.names().Of(rootless); err != nil || got.Container != "camera" {
		t.Errorf("within the home: %q, %v", got, err)
	}
}

func TestHugeDirectory(t *testing.T) {
	m := newMachine(t)
	dir := filepath.Dir(m.path("var/log/containers/x"))
	for i := range 1<<14 + 1 {
		if err := os.Symlink("/", filepath.Join(dir, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.names().Of(container.Ref{ID: idA, Pod: podUID}); err == nil || !strings.Contains(err.Error(), "more than 16384 names") {
		t.Error(err)
	}
}

// A name is looked up once; a failure again and again, ever more rarely.
func TestRemembering(t *testing.T) {
	m := newMachine(t)
	n := m.names()
	ref := container.Ref{ID: idA, Runtime: container.Podman}
	named := func() string {
		name, err := n.Of(ref)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return name.Container
	}
	if got := named(); got != "" {
		t.Fatal(got)
	}
	m.write(containersJSON, stored(idA, "camera"))
	if got := named(); got != "" {
		t.Errorf("the list was read twice in a turn: %q", got)
	}
	n.Turn()
	if got := named(); got != "camera" {
		t.Errorf("a turn later: %q", got)
	}
	m.write(containersJSON, stored(idA, "other"))
	for range 200 {
		n.Turn()
		if got := named(); got != "camera" {
			t.Fatalf("one container became %q", got)
		}
	}
	// Nobody asks: it is forgotten.
	for range 300 {
		n.Turn()
	}
	if got := named(); got != "other" {
		t.Errorf("remembered for ever: %q", got)
	}
	// After many failures it is still found, within 64 turns.
	ref.ID = idB
	for range 500 {
		n.Turn()
		if got := named(); got != "" {
			t.Fatal(got)
		}
	}
	m.write(containersJSON, `[{"id":"`+idB+`","names":["late"]}]`)
	turns := 0
	for ; named() == ""; turns++ {
		if turns > 64 {
			t.Fatal("a failure is remembered for ever")
		}
		n.Turn()
	}
	if turns < 2 {
		t.Error("a container without a name is looked up at each turn")
	}
}

func TestUID(t *testing.T) {
	m := newMachine(t)
	if _, err := m.names().UID("robot"); err == nil {
		t.Error("found without a passwd")
	}
	m.write("etc/passwd", "robot:x:1000:1000::/home/robot:/bin/sh\nrobot:x:7:7::/x:/bin/sh\n")
	n := m.names()
	for user, want := range map[string]uint32{"robot": 1000, "0": 0, "4294967295": 1<<32 - 1} {
		if got, err := n.UID(user); err != nil || got != want {
			t.Errorf("%s: %d, %v", user, got, err)
		}
	}
	for _, user := range []string{"nobody", "", "4294967296", "-1"} {
		if got, err := n.UID(user); err == nil {
			t.Errorf("%q is uid %d", user, got)
		}
	}
}
