package block

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cam-os/edge/ebpf/kernfs"
)

// loopMajor is Documentation/admin-guide/devices.txt's: a loop device that is
// just detached still did its I/O on another.
const loopMajor = 7

// disks names devices by sysfs, anew at each look: numbers are used again.
type disks struct {
	sysfs string
	known map[Device]Disk // at the last look
}

// look says what a device is, and whether it is there. called is its name in
// the kernel when it got its first account, or empty.
func (d *disks) look(dev Device, called string) (Disk, bool) {
	dir, name := filepath.Join(d.sysfs, "dev/block", dev.String()), called
	if to, err := os.Readlink(dir); err == nil {
		name = filepath.Base(to)
	} else if dir = filepath.Join(d.sysfs, "block", called); called == "" || !hidden(dir) {
		return d.vanished(dev, called), false
	}
	disk := Disk{Name: name, Stacked: stackedName(dev, name) || stacked(dir)}
	if last := d.known[dev]; last.Name == name && last.Stacked {
		disk.Stacked = true // taking a stack apart does not make its bytes real
	}
	return disk, true
}

// vanished is what is still known of a device.
func (d *disks) vanished(dev Device, called string) Disk {
	if last, ok := d.known[dev]; ok {
		return last
	}
	if called == "" {
		called = dev.String()
	}
	return Disk{Name: called, Stacked: stackedName(dev, called)}
}

// keep remembers the disks of this look for the next.
func (d *disks) keep(now map[Device]Disk) { d.known = now }

// String is MAJOR:MINOR.
func (d Device) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// stackedName goes by what the kernel reserves for loop and device mapper.
func stackedName(dev Device, name string) bool {
	return dev.Major == loopMajor || strings.HasPrefix(name, "dm-")
}

// hidden says whether dir is a disk that has no number in sysfs: a path of a
// multipath NVMe namespace.
func hidden(dir string) bool {
	b, err := kernfs.Read(filepath.Join(dir, "hidden"))
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// stacked says whether the disk at dir hands its I/O to other disks.
func stacked(dir string) bool {
	for _, part := range []string{"loop", "dm", "md", "multipath"} {
		if _, err := os.Stat(filepath.Join(dir, part)); err == nil {
			return true
		}
	}
	slaves, err := os.ReadDir(filepath.Join(dir, "slaves"))
	return err == nil && len(slaves) > 0
}
