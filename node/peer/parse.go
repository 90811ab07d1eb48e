package peer

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// tick is USER_HZ, in which /proc counts; 100 on every architecture that Go
// runs Linux on but alpha and ia64.
const tick = time.Second / 100

// startTime reads the state and the start since boot from /proc/PID/stat. The
// command in it may hold spaces, parentheses and newlines, so that fields are
// counted from its last parenthesis (proc_pid_stat(5)).
func startTime(stat []byte) (state byte, start time.Duration, err error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, errors.New("stat: no command")
	}
	f := bytes.Fields(stat[end+1:])
	// Field 3 is f[0], so field 22 is f[19].
	if len(f) < 20 {
		return 0, 0, fmt.Errorf("stat: %d fields after the command, want 20", len(f))
	}
	if len(f[0]) != 1 {
		return 0, 0, fmt.Errorf("stat: state %q", f[0])
	}
	ticks, err := strconv.ParseUint(string(f[19]), 10, 63)
	if err != nil {
		return 0, 0, fmt.Errorf("stat: start time: %w", err)
	}
	if ticks > uint64(1<<63-1)/uint64(tick) {
		return 0, 0, fmt.Errorf("stat: start time %d ticks", ticks)
	}
	return f[0][0], time.Duration(ticks) * tick, nil // #nosec G115 -- bounded above
}

// errForeign: the path leads out of the reader's cgroup namespace.
var errForeign = errors.New("its cgroup lies outside of the node's cgroup namespace")

// cgroupPath reads the cgroup2 path from /proc/PID/cgroup. A path that is not
// exactly one clean path of a living cgroup is an error, never a guess: the
// kernel appends " (deleted)" to removed ones, and a cgroup may also be called
// so (cgroup_path_ns, proc_cgroup_show in kernel/cgroup/cgroup.c).
func cgroupPath(file []byte) (string, error) {
	found := ""
	text, ok := strings.CutSuffix(string(file), "\n")
	if !ok {
		return "", errors.New("cgroup: no line, or a line without end")
	}
	for line := range strings.SplitSeq(text, "\n") {
		p, ok := strings.CutPrefix(line, "0::")
		if !ok {
			continue
		}
		if found != "" {
			return "", errors.New("cgroup: two cgroup2 paths")
		}
		if p == "" {
			return "", errors.New("cgroup: empty path")
		}
		found = p
	}
	switch {
	case found == "":
		return "", errors.New("cgroup: no cgroup2 path; is cgroup2 mounted?")
	case strings.HasSuffix(found, " (deleted)"):
		return "", errors.New("its cgroup is removed, or called so")
	case found[0] != '/':
		return "", fmt.Errorf("cgroup: %q is not absolute", found)
	case found == "/.." || strings.HasPrefix(found, "/../"):
		return "", errForeign
	case path.Clean(found) != found || strings.IndexByte(found, 0) >= 0:
		return "", fmt.Errorf("cgroup: %q is not clean", found)
	}
	return found, nil
}

// checkNSpid says whether a /proc/self/status is from the reader's own pid
// namespace.
func checkNSpid(status []byte, pid int) error {
	for line := range bytes.Lines(status) {
		v, ok := bytes.CutPrefix(line, []byte("NSpid:"))
		if !ok {
			continue
		}
		if f := bytes.Fields(v); len(f) != 1 || string(f[0]) != strconv.Itoa(pid) {
			return errors.New("/proc is of another pid namespace than the node: mount the node's own at /proc")
		}
		return nil
	}
	return errors.New("/proc/self/status has no NSpid: the kernel has no pid namespaces")
}
