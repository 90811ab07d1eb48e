package sensor

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// Whatever cgroups do, every nanosecond of the root's counter is charged once,
// and nothing goes back.
func TestTreeSplitsTheRoot(t *testing.T) {
	type real struct {
		parent cgroup.ID
		whole  time.Duration
	}
	rapid.Check(t, func(t *rapid.T) {
		kernel := map[cgroup.ID]*real{1: {}}
		next := cgroup.ID(2)
		run := func(id cgroup.ID, d time.Duration) {
			for ; id != 0; id = kernel[id].parent {
				kernel[id].whole += d
			}
		}
		ids := func() []cgroup.ID {
			var out []cgroup.ID
			for id := range next {
				if kernel[id] != nil {
					out = append(out, id) // parents are older, so they come first
				}
			}
			return out
		}
		run(1, 1000) // before the first look
		var tr tree
		hidden := cgroup.ID(0)
		prev := map[cgroup.ID]time.Duration{}
		check := func(t *rapid.T) {
			var nodes []node
			for _, id := range ids() {
				skip := false
				for up := id; up != 0; up = kernel[up].parent {
					skip = skip || up == hidden
				}
				if !skip {
					nodes = append(nodes, node{ID: id, Parent: kernel[id].parent, Used: amounts{CPU: kernel[id].whole}})
				}
			}
			hidden = 0
			tr.update(nodes, time.Hour)
			for id, b := range tr.cgroups {
				if b.self.CPU < prev[id] {
					t.Fatalf("cgroup %d went from %v to %v", id, prev[id], b.self.CPU)
				}
				prev[id] = b.self.CPU
			}
		}
		check(t)
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				kernel[next] = &real{parent: rapid.SampledFrom(ids()).Draw(t, "parent")}
				next++
			},
			"run": func(t *rapid.T) {
				run(rapid.SampledFrom(ids()).Draw(t, "cgroup"), time.Duration(rapid.IntRange(0, 1000).Draw(t, "ns")))
			},
			"remove": func(t *rapid.T) {
				id := rapid.SampledFrom(ids()).Draw(t, "cgroup")
				for _, r := range kernel {
					if r.parent == id {
						return
					}
				}
				if id != 1 {
					delete(kernel, id)
				}
			},
			"unreadable at the next look": func(t *rapid.T) {
				if id := rapid.SampledFrom(ids()).Draw(t, "cgroup"); id != 1 {
					hidden = id
				}
			},
			"look": check,
		})
		check(t)
		var sum time.Duration
		for _, d := range prev {
			sum += d
		}
		// What was out of sight for a look may be charged to its parent as
		// well as, later, to itself; nothing is lost.
		if want := kernel[1].whole - 1000; sum < want {
			t.Fatalf("charged %v of %v", sum, want)
		}
	})
}

func TestTreeNeverJumps(t *testing.T) {
	var tr tree
	at := func(cpu time.Duration, io ioBytes) amounts {
		tr.update([]node{{ID: 1}, {ID: 5, Parent: 1, Used: amounts{cpu, io}}}, 2*time.Second)
		return tr.cgroups[5].self
	}
	at(100*time.Second, ioBytes{500, 500})
	for _, step := range []struct {
		cpu  time.Duration
		io   ioBytes
		want amounts
	}{
		{101 * time.Second, ioBytes{510, 500}, amounts{time.Second, ioBytes{10, 0}}},
		{0, ioBytes{}, amounts{time.Second, ioBytes{10, 0}}}, // another cgroup with this id
		{time.Second, ioBytes{1, 2}, amounts{2 * time.Second, ioBytes{11, 2}}},
		{1 << 60, ioBytes{1, 2}, amounts{2 * time.Second, ioBytes{11, 2}}}, // nonsense
		{1<<60 + 1, ioBytes{1, 0}, amounts{2*time.Second + 1, ioBytes{11, 2}}},
	} {
		if got := at(step.cpu, step.io); got != step.want {
			t.Errorf("counter at %v, %v: %v, want %v", step.cpu, step.io, got, step.want)
		}
	}
	// One that appears with a past that no new cgroup can have.
	tr.update([]node{{ID: 1}, {ID: 6, Parent: 1, Used: amounts{CPU: time.Hour}}}, 2*time.Second)
	if got := tr.cgroups[6].self; got != (amounts{}) {
		t.Errorf("a past was charged: %v", got)
	}
}
