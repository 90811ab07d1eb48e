package cgroupfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// file numbers what a Reader keeps open.
type file int

const (
	controllers file = iota
	cpuStat
	memoryCurrent
	memoryPeak
	memoryMax
	memorySwap
	memoryStats
	memoryEvent
	cpuPressure
	ioPressure
	memoryPressure
	files
)

func (f file) String() string {
	return [files]string{"cgroup.controllers", "cpu.stat", "memory.current", "memory.peak", "memory.max",
		"memory.swap.current", "memory.stat", "memory.events", "cpu.pressure", "io.pressure", "memory.pressure"}[f]
}

// patience is after how many looks the controllers and the limits are read, and
// files that were absent tried, again.
const patience = 10

// Reader looks at one cgroup again and again, for one system call a file. It
// keeps to the cgroup, not to the path. It must not be used concurrently.
type Reader struct {
	id      cgroup.ID
	path    string
	root    string // of the hierarchy
	dir     int
	fds     [files]int // -1: absent
	again   [files]bool
	retry   bool // files may have come back
	looks   int  // since then
	calm    bool // no cpu controller, as of then
	heard   bool // a file was there in this look
	limits  limits
	enabled string

	periods, throttled, reclaimed, refaults, high, max, oomKills counter
	some, full                                                   [3]counter

	buf [16384]byte // memory.stat has some 2 KB
}

// Open opens the files of the cgroup with this id at this path. The error is
// fs.ErrNotExist when another cgroup, or none, is at the path. Close it.
func Open(h *cgroup.Hierarchy, id cgroup.ID, path string) (*Reader, error) {
	dir, err := openCgroup(h, id, path)
	if err != nil {
		return nil, err
	}
	return newReader(dir, id, path, h.Root())
}

// openCgroup opens the cgroup's directory if it is still that cgroup's.
func openCgroup(h *cgroup.Hierarchy, id cgroup.ID, path string) (int, error) {
	name, err := h.Dir(path)
	if err != nil {
		return -1, err
	}
	dir, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return -1, errors.Join(&fs.PathError{Op: "stat", Path: name, Err: err}, unix.Close(dir))
	}
	if cgroup.ID(st.Ino) != id {
		return -1, errors.Join(fmt.Errorf("cgroup %d is no longer at %s: %w", id, path, fs.ErrNotExist), unix.Close(dir))
	}
	return dir, nil
}

func newReader(dir int, id cgroup.ID, path, root string) (*Reader, error) {
	r := &Reader{id: id, path: path, root: root, dir: dir}
	for f := range r.fds {
		r.fds[f] = -1
	}
	err := r.open()
	if err == nil && r.fds[controllers] < 0 {
		err = fmt.Errorf("%s of cgroup %s: %w", controllers, path, fs.ErrNotExist)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.again, r.retry = [files]bool{}, true
	return r, nil
}

// open opens what is not yet open. Absent files are no error.
func (r *Reader) open() error {
	r.retry, r.looks, r.calm = false, 0, false
	for f := range files {
		if r.fds[f] >= 0 {
			continue
		}
		// Nonblocking: below a root that the operator names may be a FIFO.
		fd, err := unix.Openat(r.dir, f.String(), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		switch {
		case err == nil:
			r.fds[f], r.again[f] = fd, true
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.EOPNOTSUPP):
		default:
			return fmt.Errorf("open %s of cgroup %s: %w", f, r.path, err)
		}
	}
	return nil
}

// ID is the kernel's id of the cgroup.
func (r *Reader) ID() cgroup.ID { return r.id }

// Read takes a look. When a file says nonsense, the error names it and only
// that part of Stat is nil; the error is fs.ErrNotExist, and Stat empty, once
// the cgroup was removed. Cumulative figures never go back: a count that did is
// reported once, and goes on from there.
func (r *Reader) Read() (Stat, error) {
	r.looks++
	due := r.retry || r.looks > patience
	if due {
		if err := errors.Join(r.refresh(), r.open()); err != nil {
			return Stat{}, err
		}
	}
	r.heard = false
	// All parts in one piece of memory of the caller's own.
	all := new(struct {
		throttle Throttle
		memory   Memory
		pressure [3]Pressure
	})
	var s Stat
	var errs []error
	keep := func(ok bool, err error) bool {
		if err != nil {
			errs = append(errs, err)
		}
		return ok
	}
	if keep(r.throttle(&all.throttle)) {
		s.Throttle = &all.throttle
	}
	if keep(r.memory(&all.memory, due)) {
		s.Memory = &all.memory
	}
	for i, to := range [...]**Pressure{&s.CPU, &s.IO, &s.Mem} {
		if keep(r.pressure(i, &all.pressure[i])) {
			*to = &all.pressure[i]
		}
	}
	if !r.heard {
		errs = append(errs, r.refresh())
	}
	for _, err := range errs {
		if errors.Is(err, fs.ErrNotExist) {
			return Stat{}, err
		}
	}
	return s, errors.Join(errs...)
}

// refresh reads which controllers there are; it fails for a cgroup that was
// removed.
func (r *Reader) refresh() error {
	n, err := r.pread(controllers)
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("cgroup %s (%d): %w", r.path, r.id, fs.ErrNotExist)
	case err != nil:
		return r.says(controllers, err)
	case string(r.buf[:n]) != r.enabled:
		r.enabled = string(r.buf[:n])
	}
	return nil
}

// content reads a file; nil without an error is one that is absent.
func (r *Reader) content(f file) ([]byte, error) {
	if r.fds[f] < 0 {
		return nil, nil
	}
	n, err := r.pread(f)
	switch {
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EOPNOTSUPP):
		// The cgroup is gone, or the controller, or pressure was turned off.
		return nil, errors.Join(r.drop(f), r.refresh())
	case err != nil:
		return nil, r.says(f, err)
	case n == len(r.buf):
		return nil, r.says(f, fmt.Errorf("holds more than %d bytes", n-1))
	}
	r.heard = true
	return r.buf[:n], nil
}

// drop closes a file that is no more, and those of the same controller with it:
// when it comes back, they are others.
func (r *Reader) drop(f file) error {
	r.retry = true
	from, to := f, f
	if f >= memoryCurrent && f <= memoryEvent {
		from, to = memoryCurrent, memoryEvent
	}
	var errs []error
	for f := from; f <= to; f++ {
		if r.fds[f] >= 0 {
			errs = append(errs, unix.Close(r.fds[f]))
			r.fds[f] = -1
		}
	}
	return errors.Join(errs...)
}

func (r *Reader) pread(f file) (n int, err error) {
	for {
		if n, err = unix.Pread(r.fds[f], r.buf[:], 0); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func (r *Reader) says(f file, err error) error {
	return fmt.Errorf("%s of cgroup %s: %w", f, r.path, err)
}

// Enabled is the controllers of the cgroup, at most ten Reads old.
func (r *Reader) Enabled() Enabled { return strings.Fields(r.enabled) }

// Close lets the cgroup go.
func (r *Reader) Close() error {
	var errs []error
	for f, fd := range r.fds {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
			r.fds[f] = -1
		}
	}
	return errors.Join(append(errs, unix.Close(r.dir))...)
}
