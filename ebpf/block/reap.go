package block

import (
	"errors"

	"github.com/cilium/ebpf"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// silentLooks is how many looks in a row must find an account unchanged before
// its entry goes, once the cgroup or the disk is gone: dirty pages are written
// after 30 s (vm.dirty_expire_centisecs), and a look comes every second.
const silentLooks = 60

// reap removes the entries of what is gone, so that the dead do not fill the
// map. An entry that moved since it was read stays. One that comes back at once
// goes on where it was; see charge.
//
// Failures are of no consequence: the entry is tried again at the next look.
func (s *Sensor) reap(parents map[cgroup.ID]cgroup.ID, removed map[cgroup.ID]bool, gone map[Device]bool) {
	used := make(map[cgroup.ID]bool)
	for k, a := range s.seen {
		if (removed[k.Cgroup] || gone[k.Device]) && a.silent >= silentLooks && s.remove(k, a) {
			s.unseen.of(k.Device).add(k.Op, a.entry)
			a.base, a.entry, a.silent, a.reaped = a.total(), Usage{}, 0, true
			continue
		}
		used[k.Cgroup] = true
	}
	for dev := range gone {
		if gone[dev] && !s.known(dev) {
			_ = s.objs.Names.Delete(dev.Major<<minorBits | dev.Minor)
		}
	}
	s.buried = make(map[cgroup.ID]cgroup.ID)
	for _, id := range withered(parents, removed, used) {
		if s.objs.Ancestries.Delete(uint64(id)) != nil {
			return
		}
		s.buried[id] = parents[id]
	}
}

func (s *Sensor) remove(k Key, a *account) bool {
	var now []blockIoUsage
	if s.objs.Usages.Lookup(k.kernel(), &now) != nil || sum(now) != a.entry {
		return false
	}
	err := s.objs.Usages.Delete(k.kernel())
	return err == nil || errors.Is(err, ebpf.ErrKeyNotExist)
}

// known says whether a device still has an entry.
func (s *Sensor) known(dev Device) bool {
	for k, a := range s.seen {
		if k.Device == dev && !a.reaped {
			return true
		}
	}
	return false
}

// withered lists the removed cgroups that have neither an account nor a child
// left, leaves first. Nothing can be created below a removed cgroup, so no
// chain is ever cut.
func withered(parents map[cgroup.ID]cgroup.ID, removed, used map[cgroup.ID]bool) (ids []cgroup.ID) {
	children := make(map[cgroup.ID]int)
	for _, p := range parents {
		children[p]++
	}
	for id := range removed {
		for removed[id] && !used[id] && children[id] == 0 {
			children[id]-- // below zero: it is listed
			ids = append(ids, id)
			id = parents[id]
			children[id]--
		}
	}
	return ids
}

// exhume puts back the ancestries that the last look removed while the program
// made another account for the cgroup: it saw that they were there.
func (s *Sensor) exhume(entries map[Key]Usage, parents map[cgroup.ID]cgroup.ID, removed map[cgroup.ID]bool) {
	for k := range entries {
		for id := k.Cgroup; id != cgroup.Root; id = parents[id] {
			if _, ok := parents[id]; ok {
				continue
			}
			parent, ok := s.buried[id]
			if !ok {
				break
			}
			parents[id], removed[id] = parent, true
			// Without room it is tried again as long as it is buried.
			_ = s.objs.Ancestries.Update(uint64(id), blockAncestry{Parent: uint64(parent), Removed: 1}, ebpf.UpdateAny)
		}
	}
}
