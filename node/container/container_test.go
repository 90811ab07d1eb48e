package container_test

import (
	"strings"
	"testing"

	"github.com/cam-os/edge/node/container"
)

var (
	idA = strings.Repeat("0123456789abcdef", 4)
	idB = strings.Repeat("fedcba9876543210", 4)
)

const (
	podUID   = "72f7f152-440c-66ac-9084-e0fc1d8a910c"
	podSlice = "pod72f7f152_440c_66ac_9084_e0fc1d8a910c.slice"
	static   = "0a1b2c3d4e5f60718293a4b5c6d7e8f9" // a static pod's uid
)

// Every driver of every runtime names the cgroup in its own way.
func TestParse(t *testing.T) {
	burstable := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" + podSlice
	user := "/user.slice/user-1000.slice/user@1000.service"
	for path, want := range map[string]container.Ref{
		"/system.slice/docker-A.scope":  {Runtime: container.Docker},
		"/docker/A":                     {Runtime: container.Docker},
		"/robots/A":                     {},
		"/robots.slice/docker-A.scope":  {Runtime: container.Docker},
		"/system.slice:docker:A":        {Runtime: container.Docker},
		"/machine.slice/libpod-A.scope": {Runtime: container.Podman},
		"/libpod_parent/libpod-A":       {Runtime: container.Podman},
		"/libpod_parent/A":              {Runtime: container.Podman},
		"/machine.slice/machine-libpod_pod_B.slice/libpod-A.scope":            {Runtime: container.Podman},
		"/system.slice/camera.service/libpod-payload-A":                       {Runtime: container.Podman},
		user + "/user.slice/libpod-A.scope":                                   {Runtime: container.Podman},
		user + "/app.slice/redis.service/libpod-payload-A":                    {Runtime: container.Podman},
		burstable + "/cri-containerd-A.scope":                                 {Runtime: container.Containerd, Pod: podUID},
		burstable + "/crio-A.scope":                                           {Runtime: container.CRIO, Pod: podUID},
		burstable + "/docker-A.scope":                                         {Runtime: container.Docker, Pod: podUID},
		"/kubepods.slice/kubepods-" + podSlice + "/crio-A.scope":              {Runtime: container.CRIO, Pod: podUID},
		"/kubepods/burstable/pod" + podUID + "/A":                             {Pod: podUID},
		"/kubepods/pod" + podUID + "/A":                                       {Pod: podUID},
		"/kubepods/besteffort/pod" + static + "/crio-A":                       {Runtime: container.CRIO, Pod: static},
		"/system.slice/kubepods-besteffort-" + podSlice + ":cri-containerd:A": {Runtime: container.Containerd, Pod: podUID},
		"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-" + podSlice + "/cri-containerd-A.scope": {
			Runtime: container.Containerd, Pod: podUID},
	} {
		path = strings.NewReplacer("A", idA, "B", idB).Replace(path)
		want.ID, want.Cgroup = idA, path
		for _, below := range []string{"", "/container", "/init.scope", "/docker-" + idB + ".scope", "/kubepods/pod" + podUID + "/" + idB} {
			if got, ok := container.Parse(path + below); !ok || got != want {
				t.Errorf("%s%s:\n got %+v, %v\nwant %+v", path, below, got, ok, want)
			}
		}
	}
}

func TestNoContainer(t *testing.T) {
	for _, path := range []string{
		"", "/", "//", ":", "/:", "/::", "/:" + idA[1:], "/system.slice", "/system.slice/docker.service", "/docker",
		"/machine.slice/libpod-conmon-" + idA + ".scope", "/libpod_parent/conmon", "/crio-conmon-" + idA + ".scope",
		"/system.slice/docker-" + idA[1:] + ".scope", "/system.slice/docker-" + strings.ToUpper(idA) + ".scope",
		"/system.slice/docker-" + idA + "0.scope", "/docker/" + idA + ".service", "/system.slice/xdocker-" + idA + ".scope",
		"/kubepods/pod" + podUID, "/user.slice/user-1000.slice/session-3.scope", "/docker-" + idA + "\n.scope",
	} {
		if got, ok := container.Parse(path); ok {
			t.Errorf("%q is container %+v", path, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/system.slice/docker-" + idA + ".scope/x")
	f.Add("/kubepods-besteffort-" + podSlice + ":cri-containerd:" + idA)
	f.Fuzz(func(t *testing.T, path string) {
		ref, ok := container.Parse(path)
		if !ok {
			return
		}
		again, _ := container.Parse(ref.Cgroup)
		if again != ref || len(ref.ID) != 64 || strings.Contains(ref.Pod, "/") {
			t.Errorf("%q: %+v, and its own cgroup %+v", path, ref, again)
		}
	})
}
