package agent

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/node/observe"
)

type entry struct {
	observe.Agent
	known   bool // from the configuration
	target  target
	members map[string]*member // by path
	// seen is the tick when it last had processes.
	seen uint64
}

// member is one of an agent's cgroups.
type member struct {
	id cgroup.ID
	// follower looks at the cgroup that has the path.
	follower  *cgroup.Follower
	populated bool
}

// path is the only place to look for the agent, "" where it has a pattern.
func (e *entry) path() string {
	if e.known {
		return e.target.cgroup
	}
	return e.Cgroup
}

func (e *entry) join(p string) {
	if e.members[p] == nil {
		if e.members == nil {
			e.members = make(map[string]*member)
		}
		e.members[p] = &member{}
	}
}

// leave lets one cgroup go.
func (e *entry) leave(p string) {
	if m := e.members[p]; m != nil {
		m.unfollow()
		delete(e.members, p)
	}
}

// release lets all cgroups go.
func (e *entry) release() {
	for p := range e.members {
		e.leave(p)
	}
	e.Cgroups = nil
}

// look brings one entry up to date. It says whether a cgroup that matched its
// pattern is gone: another may have taken its place.
func (r *Registry) look(e *entry) (lost bool) {
	if !r.stands(e) {
		e.release()
		e.State = observe.Ended
		return false
	}
	if p := e.path(); p != "" {
		for other := range e.members {
			if other != p {
				e.leave(other)
			}
		}
		e.join(p)
	}
	var running, exists, failed bool
	for p, m := range e.members {
		switch err := m.look(r.cgroups, p); {
		case errors.Is(err, fs.ErrNotExist):
			lost = lost || m.id != 0 && p != e.path()
			e.leave(p)
		case err != nil:
			// No descriptor left, say: that is no reason to take an agent for
			// anybody else. It stays what it was until it can be looked at.
			failed = true
		default:
			exists = true
			running = running || m.populated
		}
	}
	switch {
	case running:
		e.State, e.seen = observe.Running, r.tick
	case failed:
	case exists && r.owns(e) && e.State != observe.Running:
		// Empty for a whole interval: its last figures have been read.
		if r.launcher.Reap(e.Cgroup) == nil {
			e.State = observe.Ended
			e.release()
		}
	case exists:
		e.State = observe.Empty
	case e.State != observe.Absent:
		e.State = observe.Ended
	}
	e.list()
	return lost
}

// list shows the cgroups that there are, the newest first: the kernel counts
// their ids up.
func (e *entry) list() {
	found := make([]string, 0, len(e.members))
	for p, m := range e.members {
		if m.id != 0 {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b string) int {
		return cmp.Or(-cmp.Compare(e.members[a].id, e.members[b].id), cmp.Compare(a, b))
	})
	// Who has the last list keeps it.
	if !slices.Equal(found, e.Cgroups) {
		e.Cgroups = found
	}
	if len(found) > 0 {
		e.Cgroup = found[0]
	}
}

// look says whether the cgroup has processes. One that took the place of a
// removed one is found at once.
func (m *member) look(h *cgroup.Hierarchy, p string) (err error) {
	for range 2 {
		if m.follower == nil {
			if m.follower, err = h.Follow(p); err != nil {
				m.follower = nil
				// Without a descriptor its use can be charged all the same.
				if id, err := h.ID(p); err == nil {
					m.id = id
				}
				return err
			}
			m.id = m.follower.ID()
		}
		populated, err2 := m.follower.Populated()
		if err2 == nil {
			m.populated = populated
			return nil
		}
		err = err2
		m.unfollow()
	}
	return err
}

func (m *member) unfollow() {
	if m.follower != nil {
		_ = m.follower.Close() // it was only read
		m.follower = nil
	}
}

// owns says whether the node made the entry's cgroup.
func (r *Registry) owns(e *entry) bool {
	return !e.known && r.launcher != nil && path.Dir(e.Cgroup) == r.slice
}

func (r *Registry) index(e *entry) {
	if e.State == observe.Ended || e.State == observe.Absent {
		return
	}
	for p, m := range e.members {
		if m.id != 0 {
			r.byID[m.id] = owned{agent: e.Name, seen: r.tick}
			r.byPath[p] = e.Name
		}
	}
}
