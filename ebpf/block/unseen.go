package block

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// unseen holds what programs were shown to the kernel's own counters of the
// disks.
//
// A completion reaches block_rq_complete first and /proc/diskstats after it
// (block/blk-mq.c, blk_update_request and blk_complete_request). So what
// diskstats has gained by a moment, the map has by any later one, or it was
// never shown. Only the first moment needs care: a completion on its way from
// one to the other must not be in diskstats' gain without being in the map's.
type unseen struct {
	procfs string
	disks  map[Device]*counted
	// left is what the map has no more: entries that were reaped, less what was
	// there when counting began.
	left map[Device]*work
}

// counted is one disk of diskstats.
type counted struct {
	last   stats
	gained work // since counting began
	short  work // the most by which the map lacked it
	looks  int  // at sysfs, for real
	real   bool
}

// begin notes where both counters stand. shown is what the map has.
//
// All that the map has before the kernel's membarrier has passed diskstats after
// it: it waits for every interrupt and preemption-free stretch that is under way
// (kernel/sched/membarrier.c, synchronize_rcu). Drivers that complete in threads
// may be preempted between the two; then that one request would count. Where the
// kernel has no membarrier, the first look begins.
func (n *unseen) begin(shown func() (map[Key]Usage, error)) error {
	n.disks, n.left = make(map[Device]*counted), make(map[Device]*work)
	before, err := shown()
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, 1, 0, 0); errno != 0 { // MEMBARRIER_CMD_GLOBAL
		return nil
	}
	all, err := readDiskstats(n.procfs)
	if err != nil {
		return nil // missing says so
	}
	n.take(all)
	for k, u := range before {
		w := n.of(k.Device)
		w[k.Op].bytes -= u.Bytes // below zero: what the map has makes up for it
		w[k.Op].operations -= u.Operations
	}
	return nil
}

// missing says that nothing is held to anything.
func (n *unseen) missing() []string {
	if _, err := readDiskstats(n.procfs); err != nil {
		return []string{"I/O that the kernel shows to no program: " + err.Error() + "; mount proc there"}
	}
	return nil
}

// take brings the gains up to date. It comes before the map is read. A disk
// begins where it stands when it is first seen, new or not: a list that is read
// while disks go may leave one out.
func (n *unseen) take(all map[Device]stats) {
	for dev, now := range all {
		c := n.disks[dev]
		if c == nil {
			c = &counted{last: now}
			n.disks[dev] = c
		}
		if c.last.name != now.name || now.work.behind(c.last.work) {
			if !c.real { // it counted by itself, or was a partition
				c.gained = work{}
			}
			c.looks, c.real = 0, false
		}
		c.gained.advance(c.last.work, now.work)
		c.last = now
	}
}

// of is what is left of a disk's entries.
func (n *unseen) of(dev Device) *work {
	w := n.left[dev]
	if w == nil {
		w = &work{}
		n.left[dev] = w
	}
	return w
}

// compare says what diskstats has gained and the map lacks: the most so far,
// since the map may be ahead by what is just completing.
func (n *unseen) compare(sysfs string, entries map[Key]Usage, overflow Usage) map[Key]Usage {
	ours := make(map[Device]*work)
	for dev, left := range n.left {
		w := *left
		ours[dev] = &w
	}
	for k, u := range entries {
		if ours[k.Device] == nil {
			ours[k.Device] = &work{}
		}
		ours[k.Device].add(k.Op, u)
	}
	found := make(map[Key]Usage)
	for dev, c := range n.disks {
		if c.isReal(sysfs, dev) {
			var w work
			if ours[dev] != nil {
				w = *ours[dev]
			}
			short := lacks(c.gained, w)
			for op := range short {
				// It may be of any disk.
				short[op] = short[op].minus(amount{overflow.Bytes, overflow.Operations})
			}
			c.short.highest(short)
		}
		for op, s := range c.short {
			if s != (amount{}) {
				found[Key{Device: dev, Op: Operation(op)}] = Usage{Bytes: s.bytes, Operations: s.operations} // #nosec G115 -- an index of five
			}
		}
	}
	return found
}

// lacks is by how much ours falls short at least. There, writing zeroes and
// erasing are writes and not discards (include/linux/blk_types.h,
// op_stat_group), a controller's own commands are reads or writes, and flushes
// that somebody waits for are writes of nothing: so that nothing can be said of
// the number of writes.
func lacks(kernel, ours work) (short work) {
	other := ours[Other]
	short[Read] = kernel[Read].minus(ours[Read].plus(other))
	short[Discard] = kernel[Discard].minus(ours[Discard])
	zeroes := ours[Discard].minus(kernel[Discard])
	short[Write] = kernel[Write].minus(ours[Write].plus(other).plus(zeroes))
	short[Write].operations = 0
	short[Flush] = kernel[Flush].minus(ours[Flush])
	return short
}

// isReal says whether the completions of a device are shown to programs, and
// are no other's: a whole disk that has requests (a directory mq), and is not
// stacked. Drivers without requests (zram, pmem, dm, md) count by themselves.
func (c *counted) isReal(sysfs string, dev Device) bool {
	// The directory may come a moment after the disk.
	if c.real || c.looks >= 3 {
		return c.real
	}
	c.looks++
	dir := filepath.Join(sysfs, "dev/block", dev.String())
	if _, err := os.Stat(filepath.Join(dir, "mq")); err != nil {
		return false
	}
	c.real = !stackedName(dev, c.last.name) && !stacked(dir)
	return c.real
}
