package container

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
)

// podman reads the lists of containers/storage (containers.go: the fields of
// Container). They hold the names whatever libpod itself keeps its state in
// (bolt or SQLite); volatile-containers.json has those made with --rm.
func (n *Names) podman(ref Ref) (Name, error) {
	l := n.stored[ref.Owner]
	if l == nil {
		l = n.readStored(ref.Owner)
		if n.stored == nil {
			n.stored = make(map[uint32]*list)
		}
		n.stored[ref.Owner] = l
	}
	if name, ok := l.of[ref.ID]; ok {
		return name, nil
	}
	return Name{}, l.or("Podman")
}

// or is why a list does not have a container.
func (l *list) or(who string) error {
	if l.err != nil {
		return l.err
	}
	return fmt.Errorf("%s does not list it: %w", who, fs.ErrNotExist)
}

func (n *Names) readStored(owner uint32) *list {
	l := &list{of: make(map[string]Name)}
	// graphroot, and runroot for a transient store (containers-storage.conf(5)).
	places := []place{
		{filepath.Join(n.root, "var/lib/containers"), "storage"},
		{filepath.Join(n.root, "run/containers"), "storage"},
	}
	if owner != 0 {
		home, err := n.home(owner)
		if err != nil {
			l.err = err
			return l
		}
		places = []place{
			{home, ".local/share/containers/storage"},
			{filepath.Join(n.root, "run/user", strconv.FormatUint(uint64(owner), 10)), "containers"},
		}
	}
	for _, p := range places {
		for _, driver := range []string{"overlay", "vfs", "btrfs", "zfs"} {
			for _, file := range []string{"containers.json", "volatile-containers.json"} {
				l.add(p.dir, filepath.Join(p.below, driver+"-containers", file))
			}
		}
	}
	return l
}

func (l *list) add(dir, file string) {
	var stored []struct {
		ID    string   `json:"id"`
		Names []string `json:"names"`
	}
	if err := readJSON(dir, file, mostOfList, &stored); err != nil {
		if !absent(err) {
			l.err = errors.Join(l.err, err)
		}
		return
	}
	for _, c := range stored {
		if isID(c.ID) && len(c.Names) > 0 {
			l.of[c.ID] = Name{Container: c.Names[0]}
		}
	}
}
