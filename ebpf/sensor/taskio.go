package sensor

import "github.com/cam-os/edge/ebpf/cgroup"

// ioBytes is an amount of task I/O.
type ioBytes struct{ Read, Written uint64 }

func (b ioBytes) add(o ioBytes) ioBytes { return ioBytes{b.Read + o.Read, b.Written + o.Written} }

// sub stops at zero.
func (b ioBytes) sub(o ioBytes) ioBytes {
	return ioBytes{b.Read - min(b.Read, o.Read), b.Written - min(b.Written, o.Written)}
}

func (b ioBytes) max(o ioBytes) ioBytes {
	return ioBytes{max(b.Read, o.Read), max(b.Written, o.Written)}
}

// taskKey names a thread for good: a tid is used again, with its start it is not.
type taskKey struct{ Start, Tid uint64 }

// liveTask is what the kernel's task iterator says of one thread.
type liveTask struct {
	Key     taskKey
	Cgroup  cgroup.ID
	Bytes   ioBytes // over the thread's whole life
	Exiting bool    // its bytes are, or are about to be, in the exited account
}

// settledMap is the kernel's table of bytes that a thread must not be charged
// for where it exits, because user space has charged them elsewhere.
type settledMap interface {
	// settle sets a thread's bytes; first says that none were set before. It
	// fails when the table is full or the thread's exit came first.
	settle(k taskKey, b ioBytes, first bool) error
	// unsettle removes an entry and says whether there was one, which means
	// that the thread's exit did not find it.
	unsettle(k taskKey) bool
}

// overflow is the account of cgroups that the kernel's map has no room for.
const overflow cgroup.ID = 0

// taskIO sums, per cgroup, what exited threads did (the kernel's account) and
// what live ones did (the iterator's), so that each byte is counted once and
// in the cgroup where it was done, as far as a look can tell: what a thread
// did between two looks is charged to where the later look finds it.
//
// The kernel's account must be read before the iterator runs. A thread that
// exits in between is then in neither and is counted by the next look, not
// twice by this one; the high-water mark keeps the figure where it was.
type taskIO struct {
	kernel settledMap
	tasks  map[taskKey]*task
	left   map[cgroup.ID]ioBytes // done there by threads that moved on
	excess map[cgroup.ID]ioBytes // in the exited account, though charged elsewhere
	before map[cgroup.ID]ioBytes // in the exited account when the sensor opened
	high   map[cgroup.ID]ioBytes
	look   uint64
}

type task struct {
	cgroup   cgroup.ID
	base     ioBytes // what it had done when it came to this cgroup
	last     ioBytes
	settled  ioBytes // what its exit will leave out, as far as is known
	previous ioBytes // and what if the last settle came too late
	written  bool    // an entry for it should be in the kernel's table
	opening  bool    // known since the sensor opened, and not moved since
	seen     uint64
}

func newTaskIO(k settledMap) *taskIO {
	return &taskIO{
		kernel: k,
		tasks:  make(map[taskKey]*task),
		left:   make(map[cgroup.ID]ioBytes),
		excess: make(map[cgroup.ID]ioBytes),
		before: make(map[cgroup.ID]ioBytes),
		high:   make(map[cgroup.ID]ioBytes),
	}
}

// open takes what live threads have done as not to be counted. The caller then
// reads the exited account and hands it to discount.
func (t *taskIO) open(live []liveTask) {
	for _, r := range live {
		if r.Exiting {
			continue
		}
		k := &task{cgroup: r.Cgroup, base: r.Bytes, last: r.Bytes, opening: true, seen: t.look}
		t.settle(r.Key, k)
		t.tasks[r.Key] = k
	}
}

// discount takes what exited threads have done as not to be counted.
func (t *taskIO) discount(exited map[cgroup.ID]ioBytes) {
	for id, b := range exited {
		t.before[id] = b
	}
}

func (t *taskIO) settle(key taskKey, k *task) {
	if t.kernel.settle(key, k.base, !k.written) == nil {
		k.previous, k.settled, k.written = k.settled, k.base, true
	}
}

// update takes a look. exited is the kernel's account of every cgroup that has
// an entry; full says that it has no room for more. The result has every
// cgroup of exited, and overflow.
func (t *taskIO) update(exited map[cgroup.ID]ioBytes, live []liveTask, full bool) map[cgroup.ID]ioBytes {
	t.look++
	for _, r := range live {
		t.see(r, exited, full)
	}
	now := make(map[cgroup.ID]ioBytes)
	for key, k := range t.tasks {
		switch k.seen {
		case t.look:
			now[k.cgroup] = now[k.cgroup].add(k.last.sub(k.base))
		case t.look | exiting:
		default:
			t.forget(key, k)
		}
	}
	total := make(map[cgroup.ID]ioBytes, len(exited)+1)
	sum := func(id cgroup.ID) {
		b := now[id].add(t.left[id]).add(exited[id]).sub(t.excess[id]).sub(t.before[id])
		b = b.max(t.high[id])
		if b != (ioBytes{}) {
			t.high[id] = b
		}
		total[id] = b
	}
	sum(overflow)
	for id := range exited {
		if id != overflow {
			sum(id)
		}
	}
	return total
}

// exiting marks a look at which a thread was there, but on its way out.
const exiting = 1 << 63

func (t *taskIO) see(r liveTask, exited map[cgroup.ID]ioBytes, full bool) {
	k := t.tasks[r.Key]
	if r.Exiting {
		if k != nil {
			k.seen = t.look | exiting
		}
		return
	}
	if _, ok := exited[r.Cgroup]; !ok {
		if !full {
			// It appeared after the account was read. The next look has it.
			if k != nil {
				k.seen = t.look
			}
			return
		}
		r.Cgroup = overflow
	}
	if k == nil {
		k = &task{cgroup: r.Cgroup}
		t.tasks[r.Key] = k
	}
	k.seen = t.look
	if k.cgroup != r.Cgroup {
		if k.last != k.base {
			t.left[k.cgroup] = t.left[k.cgroup].add(k.last.sub(k.base))
			k.base = k.last
			k.opening = false
			t.settle(r.Key, k)
		}
		k.cgroup = r.Cgroup
	}
	k.last = k.last.max(r.Bytes)
}

// forget lets a thread go that has exited. What its exit charged to the last
// cgroup beyond what was done there is noted, so that it is taken off.
func (t *taskIO) forget(key taskKey, k *task) {
	if k.written && t.kernel.unsettle(key) {
		// The exit came before the entry. When the sensor was opening, what it
		// charged is discounted already.
		k.settled = k.previous
		if k.opening {
			k.settled = k.base
		}
	}
	if x := k.base.sub(k.settled); x != (ioBytes{}) {
		t.excess[k.cgroup] = t.excess[k.cgroup].add(x)
	}
	delete(t.tasks, key)
}

// drop forgets a cgroup whose entry was removed from the kernel's account.
func (t *taskIO) drop(id cgroup.ID) {
	delete(t.left, id)
	delete(t.excess, id)
	delete(t.before, id)
	delete(t.high, id)
}
