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

// movedTask is a thread that changed its cgroup, with what it had done by then
// in its whole life. From is 0 where the kernel could not tell.
type movedTask struct {
	Key      taskKey
	From, To cgroup.ID
	Bytes    ioBytes
}

// settledMap is the kernel's table of what user space has already charged for
// a thread, so that the thread's exit charges only the rest.
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

// taskIO sums, per cgroup, what looks found that live threads had done since
// the look before, what threads had done when they were moved, and what the
// kernel charged for the rest when they exited: each byte once, in the cgroup
// where it was done. Of a move that is not recorded (the kernel's buffer was
// full, or the process has more than 512 threads), what was done since the look
// before counts to the new cgroup.
//
// The kernel's account must be read before the iterator runs. A thread that
// exits in between is counted by the next look, not twice by this one.
//
// A thread that is not its process's first and calls exec takes over the
// first's key (fs/exec.c, de_thread); what was charged for it before is then
// charged again.
type taskIO struct {
	kernel settledMap
	tasks  map[taskKey]*task
	live   map[cgroup.ID]ioBytes // what looks found
	excess map[cgroup.ID]ioBytes // in the exited account, though looks found it
	before map[cgroup.ID]ioBytes // in the exited account when the sensor opened
	high   map[cgroup.ID]ioBytes
	look   uint64
}

type task struct {
	cgroup  cgroup.ID
	last    ioBytes // charged up to here
	settled ioBytes // what its exit will leave out, as far as is known
	written bool    // an entry for it should be in the kernel's table
	opening bool    // as the sensor found it when it opened
	seen    uint64
	moved   uint64 // the latest look that brought a move
}

func newTaskIO(k settledMap) *taskIO {
	return &taskIO{
		kernel: k,
		tasks:  make(map[taskKey]*task),
		live:   make(map[cgroup.ID]ioBytes),
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
		k := &task{cgroup: r.Cgroup, last: r.Bytes, opening: true, seen: t.look}
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
	if t.kernel.settle(key, k.last, !k.written) == nil {
		k.settled, k.written = k.last, true
	}
}

// update takes a look. exited is the kernel's account of every cgroup that has
// an entry; full says that it has no room for more; moved is what was moved
// since the last look, read after live. The result has every cgroup of exited,
// and overflow.
func (t *taskIO) update(exited map[cgroup.ID]ioBytes, live []liveTask, moved []movedTask, full bool) map[cgroup.ID]ioBytes {
	t.look++
	for _, m := range moved {
		t.move(m, exited, full)
	}
	for _, r := range live {
		t.see(r, exited, full)
	}
	for key, k := range t.tasks {
		if k.seen != t.look {
			t.forget(key, k)
		}
	}
	total := make(map[cgroup.ID]ioBytes, len(exited)+1)
	sum := func(id cgroup.ID) {
		b := exited[id].sub(t.before[id]).add(t.live[id]).sub(t.excess[id]).max(t.high[id])
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

// move charges what a thread has done to where it did it. If it has exited
// since, all of that is in the account of where it went, and forget takes it
// off there.
func (t *taskIO) move(m movedTask, exited map[cgroup.ID]ioBytes, full bool) {
	k := t.tasks[m.Key]
	if k == nil {
		if m.Bytes == (ioBytes{}) || m.From == 0 {
			return
		}
		k = &task{}
		t.tasks[m.Key] = k
	}
	place := func(id cgroup.ID) cgroup.ID {
		if _, ok := exited[id]; !ok && full {
			return overflow
		}
		return id
	}
	from := place(m.From)
	if m.From == 0 {
		from = k.cgroup // where the last look found it
	}
	k.cgroup, k.moved = place(m.To), t.look
	if d := m.Bytes.sub(k.last); d != (ioBytes{}) {
		t.live[from] = t.live[from].add(d)
		k.last = k.last.add(d)
		k.opening = false
		t.settle(m.Key, k)
	}
}

func (t *taskIO) see(r liveTask, exited map[cgroup.ID]ioBytes, full bool) {
	k := t.tasks[r.Key]
	if k != nil {
		k.seen = t.look
	}
	if r.Exiting {
		return // its exit charges the rest
	}
	if _, ok := exited[r.Cgroup]; !ok {
		if !full {
			return // it appeared after the account was read; the next look has it
		}
		r.Cgroup = overflow
	}
	if k == nil {
		k = &task{seen: t.look}
		t.tasks[r.Key] = k
	}
	if k.moved != t.look { // else the move is at least as new
		k.cgroup = r.Cgroup
	}
	if d := r.Bytes.sub(k.last); d != (ioBytes{}) {
		t.live[k.cgroup] = t.live[k.cgroup].add(d)
		k.last = k.last.add(d)
		k.opening = false
		t.settle(r.Key, k)
	}
}

// forget lets a thread go that has exited. What its exit charged although a
// look had done so is noted, so that it is taken off.
func (t *taskIO) forget(key taskKey, k *task) {
	if k.written && t.kernel.unsettle(key) {
		// The exit came before the entry was made, and so left nothing out. When
		// the sensor was opening, what it charged is discounted already.
		k.settled = ioBytes{}
		if k.opening {
			k.settled = k.last
		}
	}
	if x := k.last.sub(k.settled); x != (ioBytes{}) {
		t.excess[k.cgroup] = t.excess[k.cgroup].add(x)
	}
	delete(t.tasks, key)
}

// drop forgets a cgroup whose entry was removed from the kernel's account.
func (t *taskIO) drop(id cgroup.ID) {
	delete(t.live, id)
	delete(t.excess, id)
	delete(t.before, id)
	delete(t.high, id)
}
