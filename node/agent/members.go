package agent

import (
	"cmp"
	"slices"

	"github.com/cam-os/edge/node/groups"
)

// Members lists the cgroups of agents that exist, by id.
func (r *Registry) Members() []groups.Member {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []groups.Member
	for _, e := range r.entries {
		for p, m := range e.members {
			if m.id != 0 {
				out = append(out, groups.Member{Agent: e.Name, ID: m.id, Path: p})
			}
		}
	}
	slices.SortFunc(out, func(a, b groups.Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
