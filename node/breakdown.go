package node

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// breakdownSize bounds how many cgroups of system are listed.
const breakdownSize = 20

// breakdown lists the cgroups of system that used most CPU time.
func (n *Node) breakdown(charges []ledger.Charge) []observe.CgroupUsage {
	charges = slices.DeleteFunc(charges, func(c ledger.Charge) bool { return c.Owner != "" })
	slices.SortFunc(charges, func(a, b ledger.Charge) int {
		return cmp.Or(-cmp.Compare(a.Usage.CPU, b.Usage.CPU), cmp.Compare(a.Cgroup, b.Cgroup))
	})
	charges = charges[:min(len(charges), breakdownSize)]
	n.name(charges)
	out := make([]observe.CgroupUsage, 0, len(charges))
	for _, c := range charges {
		p, ok := n.paths[c.Cgroup]
		if !ok {
			p = unnamed(c.Cgroup)
		}
		if name, ok := n.registry.Container(p); ok {
			p += " (" + name + ")"
		}
		out = append(out, observe.CgroupUsage{Cgroup: p, Usage: c.Usage})
	}
	return out
}

// name learns the paths of cgroups; the tree is walked only when there is a
// new one among them. One that the walk did not find is gone, and its last
// charges cause no walk again.
func (n *Node) name(charges []ledger.Charge) {
	if n.cgroups == nil {
		for _, c := range charges {
			if c.Cgroup == cgroup.Root {
				n.paths[c.Cgroup] = "/"
			}
		}
		return
	}
	known := func(c ledger.Charge) bool { _, ok := n.paths[c.Cgroup]; return ok }
	if !slices.ContainsFunc(charges, func(c ledger.Charge) bool { return !known(c) }) {
		return
	}
	paths, err := n.cgroups.Paths()
	n.complaints.about("names of cgroups", err)
	if err != nil {
		return
	}
	for _, c := range charges {
		if _, ok := paths[c.Cgroup]; !ok {
			paths[c.Cgroup] = unnamed(c.Cgroup)
		}
	}
	n.paths = paths
}

// unnamed is what a cgroup is called that was gone before it could be named.
func unnamed(id cgroup.ID) string { return "cgroup " + strconv.FormatUint(uint64(id), 10) }
