package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoCgroup2 is returned by Open where no cgroup2 file system is mounted.
var ErrNoCgroup2 = errors.New("no cgroup2 file system")

// Hierarchy is the cgroup2 tree of the machine. Its methods take paths of
// cgroups below the root, "/" or "/a/b", as /proc/PID/cgroup shows them; a
// leading slash may be left out. A path that would leave the tree is an error.
// The error for a cgroup that is not there, or no longer, is fs.ErrNotExist.
type Hierarchy struct {
	dir  string
	proc string
}

// Open finds the cgroup2 tree at root itself, or at root/unified where version
// 1 has the root (hybrid mode). root is /sys/fs/cgroup but in odd containers.
func Open(root string) (*Hierarchy, error) { return OpenAt(root, "/proc") }

// OpenAt is Open with the procfs root that Move reads back from.
func OpenAt(root, procfs string) (*Hierarchy, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{root, filepath.Join(root, "unified")} {
		var st unix.Statfs_t
		switch err := unix.Statfs(dir, &st); {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		case err != nil:
			return nil, &fs.PathError{Op: "statfs", Path: dir, Err: err}
		case st.Type == unix.CGROUP2_SUPER_MAGIC:
			return &Hierarchy{dir: dir, proc: procfs}, nil
		}
	}
	return nil, fmt.Errorf("%w at %s or below it at unified; mount one (mount -t cgroup2 cgroup2 DIR) or name the one there is",
		ErrNoCgroup2, root)
}

// Root is the absolute directory of the root cgroup.
func (h *Hierarchy) Root() string { return h.dir }

// Dir is the absolute directory of a cgroup, which need not exist.
func (h *Hierarchy) Dir(p string) (string, error) {
	rel := strings.Trim(p, "/")
	if rel == "" {
		return h.dir, nil
	}
	if !filepath.IsLocal(rel) || strings.ContainsAny(rel, "\n\x00") || path.Clean(rel) != rel {
		return "", fmt.Errorf("%q is no path of a cgroup", p)
	}
	return filepath.Join(h.dir, rel), nil
}

// ID is the kernel's id of a cgroup.
func (h *Hierarchy) ID(p string) (ID, error) {
	st, err := h.stat(p)
	return ID(st.Ino), err
}

// Links is the link count of a cgroup's directory: 2 and one for each cgroup
// right below it (fs/kernfs/inode.c, set_inode_attr), so that a change of it
// says that Children has changed, for one system call.
func (h *Hierarchy) Links(p string) (uint64, error) {
	st, err := h.stat(p)
	return uint64(st.Nlink), err // #nosec G115 -- 32 bits on some architectures
}

func (h *Hierarchy) stat(p string) (st unix.Stat_t, err error) {
	dir, err := h.Dir(p)
	if err != nil {
		return st, err
	}
	if err := unix.Stat(dir, &st); err != nil {
		return st, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	return st, nil
}

// Children lists the paths of the cgroups right below p, sorted.
func (h *Hierarchy) Children(p string) ([]string, error) {
	dir, err := h.Dir(p)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, path.Join("/", p, e.Name()))
		}
	}
	return out, nil
}

// Paths walks the tree: every cgroup's path by its id. Cgroups that vanish or
// cannot be read meanwhile are left out.
func (h *Hierarchy) Paths() (map[ID]string, error) {
	root, err := h.ID("/")
	if err != nil {
		return nil, err
	}
	out := map[ID]string{root: "/"}
	var walk func(string)
	walk = func(p string) {
		children, err := h.Children(p)
		if err != nil {
			return
		}
		for _, c := range children {
			if id, err := h.ID(c); err == nil {
				out[id] = c
				walk(c)
			}
		}
	}
	walk("/")
	return out, nil
}

// Path finds the path of one cgroup by walking the tree; for many, use Paths.
func (h *Hierarchy) Path(id ID) (string, error) {
	paths, err := h.Paths()
	if err != nil {
		return "", err
	}
	p, ok := paths[id]
	if !ok {
		return "", fmt.Errorf("cgroup %d: %w", id, fs.ErrNotExist)
	}
	return p, nil
}

// Procs lists the processes of a cgroup itself, ascending.
func (h *Hierarchy) Procs(p string) ([]int, error) {
	b, err := h.read(p, "cgroup.procs")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			return nil, fmt.Errorf("cgroup.procs of %s: %w", p, err)
		}
		// 0 is a process of another pid namespace (cgroup-v2.rst).
		if pid != 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// Populated says whether the cgroup or one below it has a live process. The
// root always has.
func (h *Hierarchy) Populated(p string) (bool, error) {
	if strings.Trim(p, "/") == "" {
		return true, nil
	}
	b, err := h.read(p, "cgroup.events")
	if err != nil {
		return false, err
	}
	is, err := populated(b)
	if err != nil {
		return false, fmt.Errorf("%s: %w", p, err)
	}
	return is, nil
}

func (h *Hierarchy) read(p, file string) ([]byte, error) {
	dir, err := h.Dir(p)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, file)) // #nosec G304 -- Dir keeps it in the tree
	if errors.Is(err, unix.ENODEV) {
		// What a file says whose cgroup was removed after it was opened.
		err = &fs.PathError{Op: "read", Path: filepath.Join(dir, file), Err: fs.ErrNotExist}
	}
	return b, err
}
