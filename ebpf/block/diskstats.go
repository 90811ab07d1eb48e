package block

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// amount is a Usage without its times.
type amount struct{ bytes, operations uint64 }

// work is what was done to a disk, by operation.
type work [Other + 1]amount

// sector is the unit of diskstats, whatever the disk's own is.
const sector = 512

// maxDiskstats bounds what is read: a line is some 100 bytes.
const maxDiskstats = 1 << 20

// readDiskstats has the kernel's counters of all disks and partitions, by
// number (Documentation/admin-guide/iostats.rst).
func readDiskstats(procfs string) (map[Device]stats, error) {
	name := filepath.Join(procfs, "diskstats")
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // #nosec G304 -- the operator names the root
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxDiskstats+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxDiskstats {
		return nil, fmt.Errorf("%s holds more than %d bytes", name, maxDiskstats)
	}
	return parseDiskstats(data)
}

// stats is a line of diskstats.
type stats struct {
	name string
	work work
}

// parseDiskstats leaves out the number 0:0, which all hidden disks share.
// Kernels before 5.5 have no flushes.
func parseDiskstats(data []byte) (map[Device]stats, error) {
	all := make(map[Device]stats)
	for line := range bytes.Lines(data) {
		f := bytes.Fields(line)
		if len(f) < 14 {
			return nil, fmt.Errorf("diskstats has the line %q; it needs 14 fields", bytes.TrimSpace(line))
		}
		var n [20]uint64
		for i := range min(len(f), len(n)) {
			if i == 2 {
				continue
			}
			v, err := strconv.ParseUint(string(f[i]), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("diskstats has the line %q: %w", bytes.TrimSpace(line), err)
			}
			n[i] = v
		}
		dev := Device{uint32(n[0]), uint32(n[1])} // #nosec G115 -- the kernel prints 12 and 20 bits
		if dev == (Device{}) {
			continue
		}
		all[dev] = stats{string(f[2]), work{
			Read:    {n[5] * sector, n[3]},
			Write:   {n[9] * sector, n[7]},
			Discard: {n[16] * sector, n[14]},
			Flush:   {0, n[18]},
		}}
	}
	return all, nil
}

func (w *work) add(op Operation, u Usage) {
	w[op].bytes += u.Bytes
	w[op].operations += u.Operations
}

// advance adds what a counter that stood at was and is now at now has moved at
// least: one that went back belongs to a disk that was made anew, or has
// wrapped (sectors, where a long has 32 bits), and in both cases came from zero.
func (w *work) advance(was, now work) {
	for op := range w {
		w[op].bytes += moved(was[op].bytes, now[op].bytes)
		w[op].operations += moved(was[op].operations, now[op].operations)
	}
}

// behind says whether a counter went back.
func (w *work) behind(was work) bool {
	for op, n := range w {
		if n.bytes < was[op].bytes || n.operations < was[op].operations {
			return true
		}
	}
	return false
}

func moved(was, now uint64) uint64 {
	if now < was {
		return now
	}
	return now - was
}

// highest keeps what was the most so far.
func (w *work) highest(o work) {
	for op := range w {
		w[op].bytes = max(w[op].bytes, o[op].bytes)
		w[op].operations = max(w[op].operations, o[op].operations)
	}
}

// minus stops at zero.
func (a amount) minus(b amount) amount {
	return amount{a.bytes - min(a.bytes, b.bytes), a.operations - min(a.operations, b.operations)}
}

func (a amount) plus(b amount) amount {
	return amount{a.bytes + b.bytes, a.operations + b.operations}
}
