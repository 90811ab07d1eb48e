package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/kernfs"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/node/agent"
	"github.com/cam-os/edge/systemd"
)

// newLauncher chooses how agents get a cgroup: systemd's scopes where systemd
// runs and the node is root, directories of our own elsewhere. An ordinary
// user may have a delegated cgroup; there the agents lie below the node's own.
func newLauncher(h *cgroup.Hierarchy, slice, procfs string) (agent.Launcher, error) {
	if systemd.Booted() && os.Geteuid() == 0 {
		return agent.Scopes{Unit: slice}, nil
	}
	l, err := agent.OpenLeaves(h, "/"+slice)
	if err == nil {
		return l, nil
	}
	if own, ownErr := cgroup.Of(procfs, os.Getpid()); ownErr == nil && own != "/" {
		if l, ownErr = agent.OpenLeaves(h, own+"/"+slice); ownErr == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("%w; run the node as root, or in a cgroup delegated to you (systemd-run --user --scope -p Delegate=yes …)", err)
}

func sensorNote(s sensor.Source) string {
	switch s {
	case sensor.Cgroup:
		return "from cgroup files: exact in sum, the split over sockets is an estimate"
	case sensor.Procfs:
		return "from /proc: the machine as one account, in ticks of 10 ms"
	}
	return ""
}

// suspended is how long the machine has been suspended since it booted: what
// CLOCK_BOOTTIME counts and CLOCK_MONOTONIC does not.
func suspended() time.Duration {
	var boot, mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return max(time.Duration(boot.Nano()-mono.Nano()).Truncate(time.Millisecond), 0)
}

// onlineCPUs counts the CPUs that are online now, by package index
// (Documentation/ABI/testing/sysfs-devices-system-cpu). Without the file all
// that the topology knows count.
func onlineCPUs(sysfs string, t sensor.Topology) []int {
	counts := make([]int, len(t.Packages))
	online := func(cpu int) bool { return cpu < len(t.PackageOf) }
	if data, err := kernfs.Read(filepath.Join(sysfs, "devices/system/cpu/online")); err == nil {
		if set, err := parseCPUList(strings.TrimSpace(string(data))); err == nil {
			online = func(cpu int) bool { return set[cpu] }
		}
	}
	for cpu, p := range t.PackageOf {
		if p >= 0 && p < len(counts) && online(cpu) {
			counts[p]++
		}
	}
	return counts
}

// parseCPUList reads the kernel's list format, "0-3,5".
func parseCPUList(s string) (map[int]bool, error) {
	const most = 1 << 14 // NR_CPUS is at most 8192
	set := make(map[int]bool)
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		if err != nil {
			return nil, err
		}
		b := a
		if isRange {
			if b, err = strconv.Atoi(to); err != nil {
				return nil, err
			}
		}
		if a < 0 || b < a || b >= most {
			return nil, errors.New("CPU list out of range: " + part)
		}
		for i := a; i <= b; i++ {
			set[i] = true
		}
	}
	return set, nil
}
