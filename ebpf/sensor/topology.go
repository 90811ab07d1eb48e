package sensor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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
		b, err := readShort(filepath.Join(sysfs, name))
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

// readShort reads a regular file of one number. What lies below a root that is
// the caller's may be anything: a FIFO is refused, not waited for.
func readShort(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // #nosec G304 -- the caller's sysfs
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return io.ReadAll(io.LimitReader(f, 64))
}

// clone keeps a caller's changes away from the sensor.
func (t Topology) clone() Topology {
	return Topology{Packages: slices.Clone(t.Packages), PackageOf: slices.Clone(t.PackageOf)}
}
