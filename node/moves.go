package node

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// keptMoves is how many are shown.
const keptMoves = 64

// moves keeps the latest escapes: tasks that left an agent.
type moves struct {
	last []observe.Move
	// lost is how many the kernel's buffer had no room for.
	lost atomic.Uint64
}

// escape is a way that tasks took.
type escape struct{ from, to string }

// record takes the moves out of agents, and logs those. Whoever starts an agent
// moves a task into it; that is only counted. The log has one line for each
// agent and account in an interval, however many there were.
func (m *moves) record(snap *sensor.Snapshot, owner func(cgroup.ID) string, log *slog.Logger) {
	if lost := snap.MovesLost - m.lost.Swap(snap.MovesLost); lost > 0 {
		log.Warn("moves of tasks came faster than they could be recorded: what those tasks did is charged where they were seen", "lost", lost)
	}
	fresh := slices.Clone(m.last) // an observation has the old one
	count := make(map[escape]int)
	for _, mv := range snap.Moves {
		from, to := account(owner(mv.From)), account(owner(mv.To))
		if from == to || from == ledger.System {
			continue
		}
		if count[escape{from, to}]++; count[escape{from, to}] == 1 {
			log.Warn("a task left its agent", "agent", from, "to", to,
				"process", mv.Process, "command", mv.Command, "by", mv.By, "by_command", mv.ByCommand, "fork", mv.Fork)
		}
		fresh = append(fresh, observe.Move{Move: mv, Time: time.Now(), FromAccount: from, ToAccount: to})
	}
	for e, n := range count {
		if n > 1 {
			log.Warn("more tasks left their agent", "agent", e.from, "to", e.to, "more", n-1)
		}
	}
	m.last = fresh[max(len(fresh)-keptMoves, 0):]
}

func (m *moves) latest() []observe.Move { return m.last }

func account(owner string) string {
	if owner == "" {
		return ledger.System
	}
	return owner
}
