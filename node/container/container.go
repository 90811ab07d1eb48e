// Package container names the containers of Docker, Podman and Kubernetes
// (containerd, CRI-O) without talking to a daemon.
//
// The path of a cgroup says which container it is; the files that the runtimes
// keep for themselves say how people call it. Both are read as what they are:
// input that others wrote. A file is read up to a bound and never waited for, a
// name that no runtime would give is none, and a directory is not left through
// a symbolic link in it.
package container

import (
	"path"
	"regexp"
	"strings"
)

// Runtime is who made a container, as far as its cgroup tells.
type Runtime string

// The runtimes that can be told by a cgroup's name. The cgroupfs driver of
// Docker and containerd names a cgroup by the id alone: then it is Unknown,
// unless the cgroup above tells.
const (
	Unknown    Runtime = ""
	Docker     Runtime = "docker"
	Podman     Runtime = "podman"
	Containerd Runtime = "containerd"
	CRIO       Runtime = "cri-o"
)

// Ref is a container as its cgroup shows it.
type Ref struct {
	// Cgroup is the container's own cgroup below the cgroup2 root. What the
	// runtime made below it (crun's "container") is part of it.
	Cgroup  string
	ID      string // 64 hexadecimal digits
	Runtime Runtime
	// Pod is the uid of the Kubernetes pod that it is in, "" if in none.
	Pod string
	// Owner is whose runtime it is: 0 the system's, else a user's (rootless).
	// Parse cannot know it. It is the owner of the cgroup above, since nobody
	// else can have made this one.
	Owner uint32
}

// Parse finds the outermost container in the path of a cgroup; false where there
// is none. What lies within a container, other containers too, is that
// container's own affair: their names are not this machine's.
func Parse(cgroup string) (Ref, bool) {
	var ref Ref
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(cgroup, "/"), "/") {
		above := path.Base(at)
		at = path.Join(at, part)
		// A runtime without the systemd driver below a kubelet that has it names
		// the cgroup SLICE:PREFIX:ID, as it is given to it (OCI cgroupsPath).
		slice, rest, scoped := strings.Cut(part, ":")
		if scoped {
			above, part = slice, strings.Replace(rest, ":", "-", 1)
		}
		if uid := podOf(above); uid != "" {
			ref.Pod = uid
		}
		if id, runtime, ok := parsePart(part, above); ok {
			ref.Cgroup, ref.ID, ref.Runtime = at, id, runtime
			return ref, true
		}
	}
	return Ref{}, false
}

// prefixes are how the drivers begin the name of a container's cgroup: moby
// daemon/oci_linux.go, libpod/container_internal_linux.go (payload: Quadlet and
// --cgroups=split), containerd internal/cri (helpers.go, getCgroupsPath), cri-o
// internal/config/cgmgr.
var prefixes = []struct {
	prefix  string
	runtime Runtime
}{
	{"docker-", Docker},
	{"libpod-payload-", Podman},
	{"libpod-", Podman},
	{"cri-containerd-", Containerd},
	{"crio-", CRIO},
}

// parsePart reads one name of a path. That of a monitor (libpod-conmon-ID,
// crio-conmon-ID) is no container's: what follows the prefix is no id.
func parsePart(part, above string) (id string, runtime Runtime, ok bool) {
	part = strings.TrimSuffix(part, ".scope")
	if isID(part) {
		switch above {
		case "docker":
			runtime = Docker
		case "libpod_parent":
			runtime = Podman
		}
		return part, runtime, true
	}
	for _, p := range prefixes {
		if id, ok := strings.CutPrefix(part, p.prefix); ok && isID(id) {
			return id, p.runtime, true
		}
	}
	return "", Unknown, false
}

func isID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// podName is a pod's cgroup (kubernetes pkg/kubelet/cm, pod_container_manager
// and cgroup_manager_linux): pod<uid> with the cgroupfs driver, and with
// systemd's kubepods[-burstable|-besteffort]-pod<uid>.slice, where '_' stands
// for '-'. A static pod's uid has no dashes.
var podName = regexp.MustCompile(`^(?:[a-z-]*kubepods[a-z-]*-)?pod([0-9a-f]{8}[0-9a-f_-]{24,28})(?:\.slice)?$`)

func podOf(part string) string {
	if !strings.Contains(part, "pod") {
		return ""
	}
	m := podName.FindStringSubmatch(part)
	if m == nil {
		return ""
	}
	return strings.ReplaceAll(m[1], "_", "-")
}

// Name is how people call a container.
type Name struct {
	// Container is the container's name: of its own with Docker and Podman,
	// within its pod with Kubernetes, where a pod's sandbox is called POD.
	Container string
	// Namespace and Pod are Kubernetes', "" elsewhere.
	Namespace, Pod string
}

// String is the container's name, or namespace/pod/container.
func (n Name) String() string {
	if n.Pod == "" {
		return n.Container
	}
	return n.Namespace + "/" + n.Pod + "/" + n.Container
}

// plain is what all runtimes accept as a name (moby daemon/names, libpod
// define.NameRegex); Kubernetes' names are a part of it, but for their length.
var plain = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$`)

func (n Name) valid() bool {
	if !plain.MatchString(n.Container) {
		return false
	}
	return n.Pod == "" && n.Namespace == "" || plain.MatchString(n.Pod) && plain.MatchString(n.Namespace)
}
