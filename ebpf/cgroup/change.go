package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Create makes a cgroup below one that exists. That it is there already is no
// error.
func (h *Hierarchy) Create(p string) error {
	dir, err := h.below(p)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { // #nosec G301 -- cgroups are for all to read
		return fmt.Errorf("create cgroup: %w", err)
	}
	return nil
}

// Remove removes a cgroup without processes and without cgroups below it; the
// kernel refuses others. That it is gone already is no error.
func (h *Hierarchy) Remove(p string) error {
	dir, err := h.below(p)
	if err != nil {
		return err
	}
	// os.Remove would fall back to unlink and report its error.
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup: %w", &fs.PathError{Op: "rmdir", Path: dir, Err: err})
	}
	return nil
}

// Move puts a process, with all its threads, into a cgroup and reads back that
// it is there.
func (h *Hierarchy) Move(p string, pid int) error {
	dir, err := h.Dir(p)
	if err != nil {
		return err
	}
	if pid <= 0 {
		return fmt.Errorf("move into cgroup %s: %d is no process", p, pid)
	}
	f, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0) // #nosec G304 -- Dir keeps it in the tree
	if err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	_, err = f.WriteString(strconv.Itoa(pid))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	at, err := Of(h.proc, pid)
	if err != nil {
		return fmt.Errorf("move process %d into %s: cannot read back: %w", pid, p, err)
	}
	if want := path.Join("/", p); at != want {
		return fmt.Errorf("move process %d into %s: it is in %s", pid, want, at)
	}
	return nil
}

func (h *Hierarchy) below(p string) (string, error) {
	dir, err := h.Dir(p)
	if err == nil && dir == h.dir {
		err = errors.New("the root cgroup is neither created nor removed")
	}
	return dir, err
}

// Of is the path of the cgroup2 cgroup that a process is in, from the line
// "0::PATH" of /proc/PID/cgroup (cgroups(7)). A cgroup that was removed under
// a zombie keeps its path without the kernel's " (deleted)".
func Of(procfs string, pid int) (string, error) {
	name := filepath.Join(procfs, strconv.Itoa(pid), "cgroup")
	b, err := os.ReadFile(name) // #nosec G304 -- a number below procfs
	if errors.Is(err, unix.ESRCH) {
		err = &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return strings.TrimSuffix(p, " (deleted)"), nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrNoCgroup2)
}
