// Package block measures what cgroups do to block devices: at completion, by
// the request's own clock, charged to the cgroup that owns the bio.
package block

import (
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/histogram"
	"github.com/cam-os/edge/ebpf/sensor"
)

// Operation is what a request did.
type Operation uint8

// The operations, as include/linux/blk_types.h has them.
const (
	Read Operation = iota
	Write
	Flush
	Discard // and write zeroes, secure erase
	Other
)

var operationNames = [...]string{"read", "write", "flush", "discard", "other"}

// String is the name that metrics and the store use.
func (o Operation) String() string { return operationNames[min(o, Other)] }

// OperationNamed is the inverse of String.
func OperationNamed(name string) (Operation, bool) {
	i := slices.Index(operationNames[:], name)
	return Operation(max(i, 0)), i >= 0 // #nosec G115 -- an index of five
}

// Key says whose I/O, where and what.
type Key struct {
	// Cgroup owns the bio: for direct and buffered I/O alike the one that
	// caused it, where the io controller is enabled for it; where not, its
	// nearest ancestor that has it, in the end the root.
	Cgroup cgroup.ID
	// Device is the whole disk.
	Device Device
	Op     Operation
}

// Device is a disk's number, as in /proc/partitions.
type Device struct{ Major, Minor uint32 }

// Usage is cumulative since the sensor opened. It never goes back. As in
// /proc/diskstats, what failed counts like what succeeded.
type Usage struct {
	Bytes uint64
	// Operations are requests: several writes may be merged into one, and a
	// large one may be split. The root's account has the flushes, which have no
	// owner: one may serve many writers.
	Operations uint64
	// Latency from when the request was given to the device until it completed,
	// where the disk's queue keeps that time (request.io_start_time_ns: with
	// writeback throttling, kyber, io.latency or io.cost); elsewhere from when
	// the request was made, its wait in the scheduler included. As many times as
	// Operations, unless the disk has queue/iostats off and no scheduler: then
	// requests have no times.
	Latency histogram.Log2
}

// Disk is what is known of a device.
type Disk struct {
	// Name as in /sys/block, such as nvme0n1; MAJOR:MINOR if it cannot be named.
	// Of a multipath NVMe namespace these are its paths, such as nvme0c0n1: the
	// device that file systems use has no requests of its own.
	Name string
	// Stacked: its I/O is done by other devices that are counted themselves
	// (device mapper, md, loop, a multipath head). What agents used must not sum it.
	Stacked bool
}

// Snapshot is one look.
type Snapshot struct {
	// Usage holds each key that ever did anything. A key absent from the previous
	// snapshot starts from zero. One whose cgroup or disk is gone leaves after a
	// minute of silence, at a look a second, and starts from zero if it returns.
	// When another disk gets the number of one that is gone, the account goes on
	// under the new name.
	Usage map[Key]Usage
	// Parents has the parent of every cgroup in Usage and of their ancestors,
	// also of those that are gone (dirty pages outlive their writer's cgroup).
	Parents map[cgroup.ID]cgroup.ID
	Disks   map[Device]Disk
	// Overflow is what was done while the kernel's map had no room for another
	// key: real use without a name.
	Overflow Usage
	// Unseen is real use of unknown owners: what /proc/diskstats has counted
	// since the sensor opened, up to just before this look, and the program was
	// never shown, Missed included. Cumulative, and never goes back. Its keys have
	// Cgroup 0, which is nobody's and not among Parents; it has no Latency, and
	// of writes only Bytes, since diskstats counts flushes among their number.
	// Usage, Overflow and Unseen have no byte in common.
	//
	// It is a lower bound, so that no busy system makes it up: it may come a look
	// late, and leaves out as much of each key as is in Overflow, and what was
	// done to a disk before the first look at it; writes may be hidden by what
	// zeroes were written, or discarded while the sensor opened. Disks that are stacked, have no requests of their own
	// (zram, pmem), are hidden, or have queue/iostats off are not in it.
	Unseen map[Key]Usage
	// Missed is how many completions the kernel kept from the program because
	// one had interrupted another on the same CPU (Linux 6.1 and later; earlier
	// ones let both through), by its own count. Cumulative. In a virtual machine
	// with Linux 6.18 under load, events of all tracepoints were seen to stay away
	// for milliseconds without being in it. What is lost either way is in Unseen.
	Missed uint64
	// Probes is what measuring costs.
	Probes []sensor.Probe
}

// Config says where the kernel's files are and how much to keep.
type Config struct {
	// Procfs is where diskstats is. Empty: /proc. It must be the running kernel's.
	Procfs string
	// Sysfs is where /sys/dev/block is looked up. Empty: /sys.
	Sysfs string
	// MaxKeys bounds the combinations of cgroup, device and operation; what does
	// not fit goes to Snapshot.Overflow. Each takes some 250 bytes of kernel
	// memory on every CPU. 0: 2048.
	MaxKeys int
	// BTF is shared; see sensor.Config.
	BTF *btf.Cache
}
