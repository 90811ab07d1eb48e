package simulator

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// usage is cumulative on-CPU time in µs.
type usage struct {
	inode uint64 // a path can be used again
	micro uint64
}

// work is what the machine did since it booted: in all, and by the cgroups
// that loads match, each with its descendants.
type work struct {
	total   uint64 // µs
	cgroups map[string]usage
}

// measure reads work from cpu.stat and /proc/stat, not through the sensor that
// the simulator is there to judge.
func measure(c Config) (work, error) {
	w := work{cgroups: map[string]usage{}}
	var err error
	if w.total, err = readUsage(filepath.Join(c.Cgroup, "cpu.stat")); err != nil {
		var statErr error
		if w.total, statErr = readStat(filepath.Join(c.Procfs, "stat")); statErr != nil {
			return w, fmt.Errorf("simulator: cannot tell how busy the machine is: %w", errors.Join(err, statErr))
		}
	}
	tree := os.DirFS(c.Cgroup)
	for _, l := range c.Loads {
		dirs, err := fs.Glob(tree, strings.TrimPrefix(l.Cgroup, "/"))
		if err != nil {
			return w, err // a bad pattern; the configuration was checked
		}
		for _, dir := range dirs {
			if _, known := w.cgroups["/"+dir]; known {
				continue
			}
			if u, err := readCgroup(filepath.Join(c.Cgroup, dir)); err == nil {
				w.cgroups["/"+dir] = u
			} // else it is a file, or going away: its last work counts as others'
		}
	}
	return w, nil
}

func readCgroup(dir string) (usage, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return usage{}, err
	}
	var u usage
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		u.inode = s.Ino
	}
	u.micro, err = readUsage(filepath.Join(dir, "cpu.stat"))
	return u, err
}

// readHead reads the first 4 KiB of a regular file, which is more than a
// cpu.stat has. A FIFO in place of one is refused, not waited for.
func readHead(file string) (string, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // #nosec G304 -- below a root that the operator gave
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", file)
	}
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	return string(text), err
}

// readUsage is usage_usec of a cpu.stat, which cgroup2 has even without the
// cpu controller (Documentation/admin-guide/cgroup-v2.rst).
func readUsage(file string) (uint64, error) {
	text, err := readHead(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no usage_usec", file)
}

// readStat is the busy time of all CPUs: user, nice, system, irq and softirq
// of the first line of /proc/stat, in ticks of 10 ms (proc_stat(5); guest time
// lies within user, and steal is somebody else's).
func readStat(file string) (uint64, error) {
	text, err := readHead(file)
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("%s does not start with a cpu line", file)
	}
	var ticks uint64
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return ticks * 10_000, nil
}

// parent is the nearest ancestor of a cgroup that is measured itself, or "".
func (w work) parent(cgroup string) string {
	for dir := path.Dir(cgroup); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if _, ok := w.cgroups[dir]; ok {
			return dir
		}
	}
	return ""
}
