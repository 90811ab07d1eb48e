package node

import (
	"log/slog"
	"slices"
	"time"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// keptMoves is how many are shown; all are in the log, and counted.
const keptMoves = 64

// moves keeps the latest escapes: tasks that left an agent.
type moves struct{ last []observe.Move }

// record takes the moves out of agents, and logs those. Whoever starts an agent
// moves a task into it; that is only counted.
func (m *moves) record(list []sensor.Move, owner func(cgroup.ID) string, log *slog.Logger) {
	fresh := slices.Clone(m.last) // an observation has the old one
	for _, mv := range list {
		from, to := account(owner(mv.From)), account(owner(mv.To))
		if from == to || from == ledger.System {
			continue
		}
		log.Warn("a task left its agent", "agent", from, "to", to,
			"process", mv.Process, "command", mv.Command, "by", mv.By, "by_command", mv.ByCommand, "fork", mv.Fork)
		fresh = append(fresh, observe.Move{Move: mv, Time: time.Now(), FromAccount: from, ToAccount: to})
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
