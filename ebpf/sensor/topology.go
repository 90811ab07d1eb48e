package sensor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cam-os/edge/ebpf/kernfs"
)

// readTopology reads which package each CPU lies in from a sysfs root, for
// CPUs 0 to n-1. A CPU without a readable package (offline, or an architecture
// that does not say) counts to the first package.
func readTopology(sysfs string, n int) Topology {
	ids := make([]int, n)
	known := make(map[int]bool)
	for cpu := range ids {
		ids[cpu] = -1
		name := fmt.Sprintf("devices/system/cpu/cpu%d/topology/physical_package_id", cpu)
		b, err := kernfs.Read(filepath.Join(sysfs, name))
		if err != nil {
			continue
		}
		// Some arm64 and virtual machines say -1 for "not known".
		if id, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && id >= 0 {
			ids[cpu] = id
			known[id] = true
		}
	}
	t := Topology{PackageOf: make([]int, n)}
	for id := range known {
		t.Packages = append(t.Packages, id)
	}
	if len(t.Packages) == 0 {
		t.Packages = []int{0}
	}
	slices.Sort(t.Packages)
	for cpu, id := range ids {
		if i, ok := slices.BinarySearch(t.Packages, id); ok {
			t.PackageOf[cpu] = i
		}
	}
	return t
}

// clone keeps a caller's changes away from the sensor.
func (t Topology) clone() Topology {
	return Topology{Packages: slices.Clone(t.Packages), PackageOf: slices.Clone(t.PackageOf)}
}
