package ledger

import (
	"github.com/cam-os/edge/ebpf/block"
	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
)

// Group is what the kernel keeps for an agent's cgroup, its descendants
// included: the controllers' figures and the network's, cumulative.
type Group struct {
	Cgroup   cgroup.ID
	Owner    string
	Counters Counters
}

// Blocks is one look at the disks.
type Blocks struct {
	Snapshot *block.Snapshot
	// Owner names the account that a cgroup's I/O is charged to: an agent,
	// System, or Unattributed where nobody can say whose it is.
	Owner func(cgroup.ID) string
}

// chargeGroups charges what the groups counted since they were last seen. One
// that is new starts from zero when it appeared under the ledger's eyes; what
// was there before it began to look is nobody's.
func (l *Ledger) chargeGroups(groups []Group, before map[cgroup.ID]sensor.Usage) {
	next := make(map[cgroup.ID]Counters, len(groups))
	for _, g := range groups {
		earlier, seen := l.groups[g.Cgroup]
		next[g.Cgroup] = g.Counters.highest(earlier)
		_, ran := before[g.Cgroup]
		if l.first || !seen && ran {
			continue
		}
		l.accountOf(g.Owner).interval.Counters.add(g.Counters.since(earlier))
	}
	l.groups = next
}

// chargeBlocks charges I/O on all disks but stacked ones, whose bytes the disks
// below have too.
func (l *Ledger) chargeBlocks(b Blocks) {
	if b.Snapshot == nil {
		return
	}
	next := make(map[block.Key]block.Usage, len(b.Snapshot.Usage))
	for k, u := range b.Snapshot.Usage {
		earlier := l.blocks[k]
		next[k] = highestBlock(u, earlier)
		disk := b.Snapshot.Disks[k.Device]
		if l.firstBlocks() || disk.Stacked {
			continue
		}
		if d := sinceBlock(u, earlier); d != (block.Usage{}) {
			a := l.accountOf(b.Owner(k.Cgroup))
			a.interval.Block = addBlock(a.interval.Block, BlockKey{disk.Name, k.Op}, d)
		}
	}
	unseen := make(map[block.Key]block.Usage, len(b.Snapshot.Unseen))
	for k, u := range b.Snapshot.Unseen {
		unseen[k] = highestBlock(u, l.unseen[k])
		if d := sinceBlock(u, l.unseen[k]); !l.firstBlocks() {
			l.nobody.interval.Block = addBlock(l.nobody.interval.Block, BlockKey{b.Snapshot.Disks[k.Device].Name, k.Op}, d)
		}
	}
	l.unseen = unseen
	if d := sinceBlock(b.Snapshot.Overflow, l.blockOverflow); !l.firstBlocks() {
		l.nobody.interval.Block = addBlock(l.nobody.interval.Block, BlockKey{Op: block.Other}, d)
	}
	l.blockOverflow = highestBlock(b.Snapshot.Overflow, l.blockOverflow)
	l.blocks = next
}

// firstBlocks: nothing was seen of the disks before.
func (l *Ledger) firstBlocks() bool { return l.blocks == nil }

// accountOf returns the account of an owner: an agent's, system for none.
func (l *Ledger) accountOf(owner string) *account {
	switch owner {
	case "", System:
		return l.system
	case Unattributed:
		return l.nobody
	}
	return l.open(owner, KindAgent)
}

// chargeMoves counts tasks that left an account or came to it.
func (l *Ledger) chargeMoves(moves []sensor.Move, owner func(cgroup.ID) string) {
	for _, m := range moves {
		from, to := l.accountOf(owner(m.From)), l.accountOf(owner(m.To))
		if from != to {
			from.interval.Counters[MovedOut]++
			to.interval.Counters[MovedIn]++
		}
	}
}
