package sensor

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// machine is what the kernel does: tasks that write, move and exit, and the
// exit program with its table. It is the reference for taskIO.
type machine struct {
	tasks   map[taskKey]*machineTask
	table   map[taskKey]ioBytes
	room    int
	exited  map[cgroup.ID]ioBytes
	dead    map[cgroup.ID]ioBytes // done there by threads that have exited
	next    uint64
	interim func() // runs once, in the middle of the next settle
	log     []movedTask
}

type machineTask struct {
	cgroup cgroup.ID
	bytes  ioBytes
	here   ioBytes // done in this cgroup since it came
	// done is what it did since the sensor opened, by the cgroup that it was in.
	done map[cgroup.ID]ioBytes
}

var errNoRoom = errors.New("no room")

func (m *machine) settle(k taskKey, b ioBytes, first bool) error {
	if f := m.interim; f != nil {
		m.interim = nil
		f()
	}
	_, there := m.table[k]
	if there == first || (first && len(m.table) >= m.room) {
		return errNoRoom
	}
	m.table[k] = b
	return nil
}

func (m *machine) unsettle(k taskKey) bool {
	_, there := m.table[k]
	delete(m.table, k)
	return there
}

func (m *machine) born(id cgroup.ID) taskKey {
	m.next++
	k := taskKey{m.next, m.next % 3} // tids are used again
	m.tasks[k] = &machineTask{cgroup: id, done: make(map[cgroup.ID]ioBytes)}
	return k
}

func (m *machine) exit(k taskKey) {
	t := m.tasks[k]
	b := t.bytes.sub(m.table[k])
	delete(m.table, k)
	m.exited[t.cgroup] = m.exited[t.cgroup].add(b)
	t.done[t.cgroup] = t.done[t.cgroup].add(t.here)
	for id, b := range t.done {
		m.dead[id] = m.dead[id].add(b)
	}
	delete(m.tasks, k)
}

func (m *machine) live() []liveTask {
	var out []liveTask
	for _, k := range m.keys() {
		if t := m.tasks[k]; t.bytes != (ioBytes{}) {
			out = append(out, liveTask{Key: k, Cgroup: t.cgroup, Bytes: t.bytes})
		}
	}
	return out
}

func (m *machine) keys() []taskKey {
	return slices.SortedFunc(maps.Keys(m.tasks), func(a, b taskKey) int { return int(a.Start) - int(b.Start) })
}

func (m *machine) move(k taskKey, to cgroup.ID) {
	t := m.tasks[k]
	m.log = append(m.log, movedTask{Key: k, From: t.cgroup, To: to, Bytes: t.bytes})
	t.done[t.cgroup] = t.done[t.cgroup].add(t.here)
	t.here = ioBytes{}
	t.cgroup = to
}

// moved is what the kernel recorded since the last time.
func (m *machine) moved() []movedTask {
	log := m.log
	m.log = nil
	return log
}

func (m *machine) truth() map[cgroup.ID]ioBytes {
	out := maps.Clone(m.dead)
	for _, t := range m.tasks {
		for id, b := range t.done {
			out[id] = out[id].add(b)
		}
		out[t.cgroup] = out[t.cgroup].add(t.here)
	}
	return out
}

func newMachine(room int, cgroups []cgroup.ID) *machine {
	m := &machine{
		tasks: make(map[taskKey]*machineTask), table: make(map[taskKey]ioBytes), room: room,
		exited: make(map[cgroup.ID]ioBytes), dead: make(map[cgroup.ID]ioBytes),
	}
	for _, id := range cgroups {
		m.exited[id] = ioBytes{}
	}
	return m
}

// Each byte is counted once, where it was done, whatever tasks do: also when
// one exits or is moved while it is being settled. When the
// kernel's table is full, a task may be charged to a cgroup that it has left;
// still nothing goes back.
func TestTaskIOCountsEachByteOnce(t *testing.T) {
	cgroups := []cgroup.ID{1, 2, 3}
	rapid.Check(t, func(t *rapid.T) {
		room := rapid.SampledFrom([]int{0, 2, 4, 1 << 20}).Draw(t, "room")
		m := newMachine(room, cgroups)
		io := newTaskIO(m)
		amount := rapid.Uint64Range(0, 100)
		pick := func() (taskKey, bool) {
			if len(m.tasks) == 0 {
				return taskKey{}, false
			}
			return rapid.SampledFrom(m.keys()).Draw(t, "task"), true
		}
		write := func(t *machineTask, b ioBytes, counted bool) {
			t.bytes = t.bytes.add(b)
			if counted {
				t.here = t.here.add(b)
			}
		}
		// Before the sensor opens.
		for range rapid.IntRange(0, 4).Draw(t, "elders") {
			k := m.born(rapid.SampledFrom(cgroups).Draw(t, "cgroup"))
			write(m.tasks[k], ioBytes{amount.Draw(t, "r"), amount.Draw(t, "w")}, false)
		}
		io.open(m.live())
		io.discount(maps.Clone(m.exited))

		var prev map[cgroup.ID]ioBytes
		check := func(t *rapid.T) {
			exited := maps.Clone(m.exited)
			live := m.live()
			got := io.update(exited, live, m.moved(), false)
			for id, b := range prev {
				if got[id].Read < b.Read || got[id].Written < b.Written {
					t.Fatalf("cgroup %d went from %v to %v", id, b, got[id])
				}
			}
			prev = got
		}
		t.Repeat(map[string]func(*rapid.T){
			"fork": func(t *rapid.T) { m.born(rapid.SampledFrom(cgroups).Draw(t, "cgroup")) },
			"write": func(t *rapid.T) {
				if k, ok := pick(); ok {
					write(m.tasks[k], ioBytes{amount.Draw(t, "r"), amount.Draw(t, "w")}, true)
				}
			},
			"move": func(t *rapid.T) {
				if k, ok := pick(); ok {
					m.move(k, rapid.SampledFrom(cgroups).Draw(t, "cgroup"))
				}
			},
			"exit": func(t *rapid.T) {
				if k, ok := pick(); ok {
					m.exit(k)
				}
			},
			"look": check,
			"look while a task moves": func(t *rapid.T) {
				if k, ok := pick(); ok {
					to := rapid.SampledFrom(cgroups).Draw(t, "cgroup")
					m.interim = func() { m.move(k, to) }
					check(t)
					m.interim = nil
				}
			},
			"look while a task exits": func(t *rapid.T) {
				k, ok := pick()
				if !ok {
					return
				}
				m.interim = func() { m.exit(k) }
				check(t)
				m.interim = nil
			},
		})
		// Two quiet looks: what was under way has arrived.
		check(t)
		check(t)
		for id, want := range m.truth() {
			if room > 4 && prev[id] != want {
				t.Fatalf("cgroup %d: counted %v, truth %v", id, prev[id], want)
			}
		}
	})
}

func TestTaskIOOnTheWayOut(t *testing.T) {
	m := newMachine(9, []cgroup.ID{1})
	io := newTaskIO(m)
	k := m.born(1)
	m.tasks[k].bytes = ioBytes{0, 10}
	if got := io.update(maps.Clone(m.exited), m.live(), nil, false); got[1].Written != 10 {
		t.Fatalf("alive: %v", got)
	}
	// Flagged as exiting, the exit program not yet run; then run, still listed.
	dying := []liveTask{{Key: k, Cgroup: 1, Bytes: ioBytes{0, 12}, Exiting: true}}
	if got := io.update(maps.Clone(m.exited), dying, nil, false); got[1].Written != 10 {
		t.Errorf("on its way out: %v", got)
	}
	m.tasks[k].bytes = ioBytes{0, 12}
	m.exit(k)
	for _, live := range [][]liveTask{dying, nil, nil} {
		if got := io.update(maps.Clone(m.exited), live, nil, false); got[1].Written != 12 {
			t.Errorf("exited: %v", got)
		}
	}
	if len(io.tasks) != 0 {
		t.Error("an exited task is kept")
	}
}

func TestTaskIOWithoutRoom(t *testing.T) {
	m := newMachine(9, []cgroup.ID{overflow, 1})
	io := newTaskIO(m)
	k := m.born(7) // has no entry
	m.tasks[k].bytes = ioBytes{0, 10}
	// There is room, so its entry comes with the next look.
	if got := io.update(maps.Clone(m.exited), m.live(), nil, false); got[overflow].Written != 0 {
		t.Errorf("charged to the overflow while there is room: %v", got)
	}
	if got := io.update(maps.Clone(m.exited), m.live(), nil, true); got[overflow].Written != 10 {
		t.Errorf("without room: %v", got)
	}
	// Room was made: what it does from now on is its own cgroup's.
	m.exited[7] = ioBytes{}
	m.tasks[k].bytes = ioBytes{0, 15}
	got := io.update(maps.Clone(m.exited), m.live(), nil, false)
	if got[overflow].Written != 10 || got[7].Written != 5 {
		t.Errorf("with room again: %v", got)
	}
	m.exit(k)
	if got := io.update(maps.Clone(m.exited), m.live(), nil, false); got[overflow].Written != 10 || got[7].Written != 5 {
		t.Errorf("exited: %v", got)
	}
	io.drop(7)
	if got := io.update(map[cgroup.ID]ioBytes{7: {}}, nil, nil, false); got[7] != (ioBytes{}) {
		t.Errorf("dropped: %v", got)
	}
}
