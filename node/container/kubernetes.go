package container

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// sandbox is what a pod's own container is called, as dockershim and CRI-O do.
const sandbox = "POD"

// kubelet reads the names of the links in /var/log/containers, never what they
// point to: POD_NAMESPACE_CONTAINER-ID.log (kubernetes
// pkg/kubelet/kuberuntime/legacy.go). None of the names has a '_' (RFC 1123). A
// name that was cut at 255 bytes has lost its id, and is left to the others.
func (n *Names) kubelet(ref Ref) (Name, error) {
	if n.links == nil {
		n.links = n.readLinks()
	}
	if name, ok := n.links.of[ref.ID]; ok {
		return name, nil
	}
	return Name{}, n.links.or("the kubelet")
}

func (n *Names) readLinks() *list {
	l := &list{of: make(map[string]Name)}
	names, err := readNames(filepath.Join(n.root, "var/log/containers"), mostLinks)
	if err != nil {
		l.err = err
		return l
	}
	for _, link := range names {
		rest, ok := strings.CutSuffix(link, ".log")
		if !ok || len(rest) < 65 || rest[len(rest)-65] != '-' {
			continue
		}
		id := rest[len(rest)-64:]
		parts := strings.Split(rest[:len(rest)-65], "_")
		if len(parts) == 3 && isID(id) {
			l.of[id] = Name{Pod: parts[0], Namespace: parts[1], Container: parts[2]}
		}
	}
	return l
}

// containerdRoots are containerd's state directories: its own default and k3s's.
var containerdRoots = []string{"run/containerd", "run/k3s/containerd"}

// containerd reads the OCI bundle of the task (core/runtime/v2, bundle.go) in
// CRI's namespace; its annotations are internal/cri/annotations.
func (n *Names) containerd(ref Ref) (Name, error) {
	var err error
	var annotations map[string]string
	for _, root := range containerdRoots {
		dir := filepath.Join(n.root, root, "io.containerd.runtime.v2.task/k8s.io")
		if annotations, err = readAnnotations(dir, filepath.Join(ref.ID, "config.json")); !absent(err) {
			break
		}
	}
	if err != nil {
		return Name{}, err
	}
	return podNameOf(annotations, "io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.container-name")
}

// crio reads the OCI configuration that CRI-O keeps beside its storage (cri-o
// server/container_create.go); its annotations are the kubelet's labels
// (kubernetes pkg/kubelet/types/labels.go).
func (n *Names) crio(ref Ref) (Name, error) {
	var err error
	var annotations map[string]string
	for _, dir := range []string{"run/containers/storage", "var/lib/containers/storage"} {
		dir = filepath.Join(n.root, dir, "overlay-containers")
		if annotations, err = readAnnotations(dir, filepath.Join(ref.ID, "userdata/config.json")); !absent(err) {
			break
		}
	}
	if err != nil {
		return Name{}, err
	}
	return podNameOf(annotations, "io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name")
}

func readAnnotations(dir, file string) (map[string]string, error) {
	var config struct {
		Annotations map[string]string `json:"annotations"`
	}
	err := readJSON(dir, file, mostOfOne, &config)
	return config.Annotations, err
}

// podNameOf takes the three parts of a name from labels or annotations. One
// without a container's name is the pod's sandbox.
func podNameOf(from map[string]string, namespace, pod, container string) (Name, error) {
	name := Name{Namespace: from[namespace], Pod: from[pod], Container: from[container]}
	if name.Namespace == "" || name.Pod == "" {
		return Name{}, fmt.Errorf("it has no pod: %w", fs.ErrNotExist)
	}
	if name.Container == "" {
		name.Container = sandbox
	}
	return name, nil
}
