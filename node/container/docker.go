package container

import (
	"fmt"
	"path/filepath"
	"strings"
)

// dockerRoots are where Docker keeps what it knows: its own default and that of
// its snap. daemon.json may name another.
var dockerRoots = []string{"var/lib/docker", "var/snap/docker/common/var-lib-docker"}

// docker reads containers/ID/config.v2.json (moby daemon/container/container.go:
// configFileName, and the fields of Container), where a name begins with a
// slash. Below a kubelet it is cri-dockerd's labels that count; elsewhere the
// labels are the image's, and anybody's.
func (n *Names) docker(ref Ref) (Name, error) {
	roots, err := n.dockerRoots(ref.Owner)
	if err != nil {
		return Name{}, err
	}
	var found struct {
		ID     string
		Name   string
		Config struct{ Labels map[string]string }
	}
	for _, root := range roots {
		err = readJSON(root.dir, filepath.Join(root.below, "containers", ref.ID, "config.v2.json"), mostOfOne, &found)
		if !absent(err) {
			break
		}
	}
	if err != nil {
		return Name{}, err
	}
	if found.ID != ref.ID {
		return Name{}, fmt.Errorf("config.v2.json of container %.12s is another's", ref.ID)
	}
	if ref.Pod != "" {
		return podNameOf(found.Config.Labels, "io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name")
	}
	return Name{Container: strings.TrimPrefix(found.Name, "/")}, nil
}

// place is a directory that is trusted, and what is followed below it without
// leaving it.
type place struct{ dir, below string }

func (n *Names) dockerRoots(owner uint32) ([]place, error) {
	if owner != 0 {
		// ~/.local/share/docker (moby daemon/config, rootless).
		home, err := n.home(owner)
		return []place{{home, ".local/share/docker"}}, err
	}
	var roots []place
	var daemon struct {
		Root string `json:"data-root"`
	}
	// A daemon.json that cannot be read leaves the default.
	if readJSON(filepath.Join(n.root, "etc/docker"), "daemon.json", mostOfOne, &daemon) == nil && filepath.IsAbs(daemon.Root) {
		roots = append(roots, place{dir: filepath.Join(n.root, daemon.Root)})
	}
	for _, r := range dockerRoots {
		roots = append(roots, place{dir: filepath.Join(n.root, r)})
	}
	return roots, nil
}
