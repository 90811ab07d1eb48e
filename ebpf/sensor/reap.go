package sensor

import (
	"errors"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// silentLooks is how many looks in a row must find a removed cgroup unchanged
// before its entry goes: its last threads may still be on their way out.
const silentLooks = 2

// reap removes the entries of cgroups that are gone, so that the dead do not
// fill the map. An entry that moved since it was read stays.
//
// Failures are of no consequence: the entry is tried again at the next look.
func (k *kernel) reap(parents map[cgroup.ID]cgroup.ID, removed map[cgroup.ID]bool) {
	for id, a := range k.seen {
		if !removed[id] || a.silent < silentLooks || k.held(id) {
			continue
		}
		var r percpuReader
		values := make([]schedUsage, k.usages.cpus)
		if k.maps.Usages.Lookup(uint64(id), &values) != nil {
			continue
		}
		if r.append(uint64(id), values); r.entries[0].total != a.total {
			continue
		}
		if err := k.maps.Usages.Delete(uint64(id)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if k.has.waits {
			_ = k.maps.Waiting.Delete(uint64(id)) // none was ever made, where there was no room
		}
		delete(k.seen, id)
		k.io.drop(id)
	}
	k.reapAncestries(parents, removed)
}

// held says whether an offline CPU's slot still names the cgroup.
func (k *kernel) held(id cgroup.ID) bool {
	for _, c := range k.state {
		for _, s := range c.Slots {
			if s.Id == uint64(id) && (s.Ns != 0 || s.Waited != 0) {
				return true
			}
		}
	}
	return false
}

// reapAncestries removes the parents of cgroups that are gone, leaves first.
// Nothing can be created below a removed cgroup, so no chain is ever cut.
func (k *kernel) reapAncestries(parents map[cgroup.ID]cgroup.ID, removed map[cgroup.ID]bool) {
	if len(removed) == 0 {
		return
	}
	children := make(map[cgroup.ID]int)
	for _, p := range parents {
		children[p]++
	}
	var gone []cgroup.ID
	for id := range removed {
		// The whole dead branch above a leaf goes at once.
		for k.seen[id] == nil && children[id] == 0 && removed[id] && !slices.Contains(gone, id) {
			gone = append(gone, id)
			id = parents[id]
			children[id]--
		}
	}
	for _, id := range gone {
		if k.maps.Ancestries.Delete(uint64(id)) != nil {
			return
		}
	}
}
