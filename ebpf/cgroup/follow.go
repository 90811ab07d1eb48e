package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Follower looks at one cgroup again and again, for one system call a look. It
// follows the cgroup, not the path: one that was removed stays removed, though
// another may have been made in its place.
type Follower struct {
	id  ID
	fd  int
	buf [256]byte
}

// Follow opens a cgroup other than the root. Close it.
func (h *Hierarchy) Follow(p string) (*Follower, error) {
	dir, err := h.Dir(p)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	events, err := unix.Openat(fd, "cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(dir, "cgroup.events"), Err: err}
	}
	return &Follower{id: ID(st.Ino), fd: events}, nil
}

// ID is the kernel's id of the cgroup.
func (f *Follower) ID() ID { return f.id }

// Populated says whether the cgroup or one below it has a live process. The
// error is fs.ErrNotExist once the cgroup was removed.
func (f *Follower) Populated() (bool, error) {
	n, err := unix.Pread(f.fd, f.buf[:], 0)
	if errors.Is(err, unix.ENODEV) {
		return false, fmt.Errorf("cgroup %d: %w", f.id, fs.ErrNotExist)
	}
	if err != nil {
		return false, fmt.Errorf("cgroup.events of cgroup %d: %w", f.id, err)
	}
	return populated(f.buf[:n])
}

func populated(events []byte) (bool, error) {
	_, v, ok := bytes.Cut(events, []byte("populated "))
	if !ok || len(v) == 0 {
		return false, errors.New("cgroup.events does not say whether the cgroup is populated")
	}
	return v[0] == '1', nil
}

// Close lets the cgroup go.
func (f *Follower) Close() error { return unix.Close(f.fd) }
