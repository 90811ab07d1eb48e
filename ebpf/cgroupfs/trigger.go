package cgroupfs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// Resource names a pressure file.
type Resource string

// The resources that tasks wait for.
const (
	CPUPressure    Resource = "cpu"
	IOPressure     Resource = "io"
	MemoryPressure Resource = "memory"
)

// Key is one trigger.
type Key struct {
	ID       cgroup.ID
	Resource Resource
}

// Triggers has the kernel watch the pressure of cgroups, and counts how often it
// was above what was asked (psi.rst, "Monitoring for pressure thresholds"): at
// most once per window. One goroutine waits for all. Its methods may be called
// concurrently.
type Triggers struct {
	notify func(Key)
	epoll  int
	stop   int // eventfd: Close woke the goroutine
	done   chan struct{}

	mu     sync.Mutex
	closed bool
	counts map[Key]uint64
	armed  map[Key]armed
	keys   map[int32]Key // by armed.number
	last   int32
	failed error // why the goroutine ended by itself
}

// armed is an open trigger. Its number, unlike its descriptor, is not used again
// while an event of it is on its way.
type armed struct {
	fd     int
	number int32
}

// NewTriggers begins to wait. notify, which may be nil, is called with each
// event, one at a time; it must not call Close.
func NewTriggers(notify func(Key)) (*Triggers, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch pressure: %w", err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, stop, &unix.EpollEvent{Events: unix.EPOLLIN}) // number 0
		if err != nil {
			err = errors.Join(err, unix.Close(stop))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch pressure: %w", err), unix.Close(epoll))
	}
	t := &Triggers{
		notify: notify, epoll: epoll, stop: stop, done: make(chan struct{}),
		counts: make(map[Key]uint64), armed: make(map[Key]armed), keys: make(map[int32]Key),
	}
	go t.wait()
	return t, nil
}

const (
	// What kernel/sched/psi.c takes.
	minWindow, maxWindow = 500 * time.Millisecond, 10 * time.Second
	// Without CAP_SYS_RESOURCE, newer kernels (Debian's 6.1 among them) want
	// windows that are multiples of this; older ones take any.
	slowWindow = 2 * time.Second
)

// Add asks for an event when, within the window, some task of the cgroup
// stalled for longer than stall. The window is from 500 ms to 10 s; it comes
// back longer, the share of it that stalls the same, where the kernel keeps
// short ones for processes with CAP_SYS_RESOURCE. A second Add for the same
// cgroup and resource takes the place of the first, whose count goes on.
//
// The error is fs.ErrNotExist when the cgroup is not at the path, or has no
// such file (no CONFIG_PSI, psi=0).
func (t *Triggers) Add(h *cgroup.Hierarchy, id cgroup.ID, path string, r Resource, stall, window time.Duration) (time.Duration, error) {
	if window < minWindow || window > maxWindow || stall < time.Microsecond || stall > window {
		return 0, fmt.Errorf("watch pressure: a stall of %v within %v; give a window of %v to %v, and a shorter stall", stall, window, minWindow, maxWindow)
	}
	if r != CPUPressure && r != IOPressure && r != MemoryPressure {
		return 0, fmt.Errorf("watch pressure: no resource %q; there are cpu, io and memory", r)
	}
	dir, err := openCgroup(h, id, path)
	if err != nil {
		return 0, fmt.Errorf("watch pressure: %w", err)
	}
	defer unix.Close(dir)
	fd, window, err := openTrigger(dir, string(r)+".pressure", stall, window)
	if err != nil {
		return 0, fmt.Errorf("watch pressure of %s: %w", path, err)
	}
	k := Key{id, r}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 0, errors.Join(errors.New("watch pressure: closed"), unix.Close(fd))
	}
	t.last++
	// Priority: a level that goes when it was looked at.
	if err := unix.EpollCtl(t.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLPRI, Fd: t.last}); err != nil {
		return 0, errors.Join(fmt.Errorf("watch pressure of %s: %w", path, err), unix.Close(fd))
	}
	err = t.disarm(k)
	t.armed[k], t.keys[t.last] = armed{fd, t.last}, k
	t.counts[k] += 0 // it is there, though nothing happened
	return window, err
}

// openTrigger writes the request into the file; it holds as long as the file is
// open.
func openTrigger(dir int, name string, stall, window time.Duration) (int, time.Duration, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, 0, explainTrigger(name, err)
	}
	for {
		_, err = unix.Write(fd, fmt.Appendf(nil, "some %d %d\x00", stall.Microseconds(), window.Microseconds()))
		slow := (window + slowWindow - 1) / slowWindow * slowWindow
		if !errors.Is(err, unix.EINVAL) || slow == window {
			break
		}
		stall, window = time.Duration(float64(stall)*float64(slow)/float64(window)), slow
	}
	if err != nil {
		return -1, 0, errors.Join(explainTrigger(name, err), unix.Close(fd))
	}
	return fd, window, nil
}

func explainTrigger(name string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("no such file, or its cgroup is gone; boot with psi=1 (CONFIG_PSI=y): %w", err)
	case errors.Is(err, unix.ENODEV):
		err = fmt.Errorf("its cgroup is gone: %w", fs.ErrNotExist)
	case errors.Is(err, unix.EOPNOTSUPP):
		err = fmt.Errorf("the kernel has it off; boot with psi=1: %w", errors.Join(err, fs.ErrNotExist))
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		err = fmt.Errorf("not allowed to write; run as root, or with CAP_SYS_RESOURCE and the right to write the file: %w", err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// wait is the goroutine.
func (t *Triggers) wait() {
	defer close(t.done)
	var events [32]unix.EpollEvent
	for {
		n, err := unix.EpollWait(t.epoll, events[:], -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			t.mu.Lock()
			t.failed = fmt.Errorf("watch pressure: %w", err)
			t.mu.Unlock()
			return
		}
		for _, e := range events[:max(n, 0)] {
			if e.Fd == 0 {
				return
			}
			if k, ok := t.take(e); ok && t.notify != nil {
				t.notify(k)
			}
		}
	}
}

// take counts an event, or lets go of a cgroup that was removed: the kernel
// shows that as an error.
func (t *Triggers) take(e unix.EpollEvent) (Key, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.keys[e.Fd]
	if !ok {
		return k, false // disarmed since the kernel said so
	}
	if e.Events&unix.EPOLLERR != 0 {
		_ = t.disarm(k) // a descriptor that is gone with its file
		return k, false
	}
	t.counts[k]++
	return k, true
}

// disarm closes a trigger, its count kept.
func (t *Triggers) disarm(k Key) error {
	a, ok := t.armed[k]
	if !ok {
		return nil
	}
	delete(t.armed, k)
	delete(t.keys, a.number)
	return unix.Close(a.fd) // which takes it out of the epoll
}

// Counts is how often each trigger fired, those of removed cgroups included
// until Remove.
func (t *Triggers) Counts() map[Key]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}

// Watching says which triggers are armed; those of removed cgroups are not.
func (t *Triggers) Watching() []Key {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.armed))
}

// Remove forgets a cgroup, its counts too.
func (t *Triggers) Remove(id cgroup.ID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for k := range t.counts {
		if k.ID == id {
			errs = append(errs, t.disarm(k))
			delete(t.counts, k)
		}
	}
	return errors.Join(errs...)
}

// Close ends all of it. Counts stay.
func (t *Triggers) Close() error {
	t.mu.Lock()
	was := t.closed
	t.closed = true
	t.mu.Unlock()
	if was {
		return nil
	}
	one := [8]byte{1} // any number but 0
	if _, err := unix.Write(t.stop, one[:]); err != nil {
		return fmt.Errorf("watch pressure: %w", err)
	}
	<-t.done
	t.mu.Lock()
	defer t.mu.Unlock()
	errs := []error{t.failed}
	for k := range maps.Clone(t.armed) {
		errs = append(errs, t.disarm(k))
	}
	return errors.Join(append(errs, unix.Close(t.stop), unix.Close(t.epoll))...)
}
