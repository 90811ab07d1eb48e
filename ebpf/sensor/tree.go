package sensor

import (
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// node is what the files of one cgroup say: cumulative, with all below it.
type node struct {
	ID     cgroup.ID
	Parent cgroup.ID
	Used   amounts
}

// amounts are what cgroup files count.
type amounts struct {
	CPU time.Duration
	IO  ioBytes
}

func (a amounts) add(o amounts) amounts { return amounts{a.CPU + o.CPU, a.IO.add(o.IO)} }
func (a amounts) sub(o amounts) amounts { return amounts{max(0, a.CPU-o.CPU), a.IO.sub(o.IO)} }
func (a amounts) max(o amounts) amounts { return amounts{max(a.CPU, o.CPU), a.IO.max(o.IO)} }

// tree turns the kernel's hierarchical counters into what each cgroup did by
// itself since the first look.
//
// A parent must be read before its children: it then lacks what they did in
// between, and the high-water mark waits for it, rather than taking their time
// for its own.
type tree struct {
	cgroups map[cgroup.ID]*branch
	look    uint64
}

type branch struct {
	parent cgroup.ID
	last   amounts // as the file had it
	whole  amounts // since the first look, with all below
	dead   amounts // the whole of children that are gone
	self   amounts // never goes back
	buried bool    // its whole is in its parent's dead
	seen   uint64
}

// update takes a look; nodes come parents first. most is the CPU time that a
// cgroup can have used since the last look.
func (t *tree) update(nodes []node, most time.Duration) {
	if t.cgroups == nil {
		t.cgroups = make(map[cgroup.ID]*branch)
	}
	t.look++
	below := make(map[cgroup.ID]amounts)
	for _, n := range nodes {
		b := t.cgroups[n.ID]
		if b == nil {
			b = &branch{}
			t.cgroups[n.ID] = b
			// What was there at the first look, or was hidden until now, has a
			// past that is not to be counted. What was born since has none.
			if t.look == 1 || n.Used.CPU > most {
				b.last = n.Used
			}
		}
		if up := t.cgroups[b.parent]; b.buried && up != nil {
			up.dead = up.dead.sub(b.whole) // it was only out of sight
		}
		b.parent, b.seen, b.buried = n.Parent, t.look, false
		b.whole = b.whole.add(b.grown(n.Used, most))
		b.last = n.Used
		if n.Parent != 0 {
			below[n.Parent] = below[n.Parent].add(b.whole)
		}
	}
	t.bury()
	for id, b := range t.cgroups {
		if b.seen == t.look {
			b.self = b.self.max(b.whole.sub(below[id]).sub(b.dead))
		}
	}
}

// grown is what a counter moved. One that went back is another cgroup's, with
// the same id, or a broken one: it counts from here.
func (b *branch) grown(now amounts, most time.Duration) amounts {
	if now.CPU < b.last.CPU || now.CPU-b.last.CPU > most {
		return amounts{}
	}
	d := amounts{CPU: now.CPU - b.last.CPU}
	if now.IO.Read >= b.last.IO.Read {
		d.IO.Read = now.IO.Read - b.last.IO.Read
	}
	if now.IO.Written >= b.last.IO.Written {
		d.IO.Written = now.IO.Written - b.last.IO.Written
	}
	return d
}

// memory is how many looks a cgroup is remembered that is out of sight.
const memory = 64

// bury hands the whole of cgroups that are gone to their parents, whose
// counters keep it.
func (t *tree) bury() {
	for id, b := range t.cgroups {
		if b.seen == t.look-1 {
			if up := t.cgroups[b.parent]; up != nil {
				up.dead = up.dead.add(b.whole)
			}
			b.buried = true
		}
		if t.look-b.seen > memory {
			delete(t.cgroups, id)
		}
	}
}

// listed says whether a look should still show a cgroup: one more than saw it.
func (t *tree) listed(b *branch) bool { return t.look-b.seen <= 1 }
