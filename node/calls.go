package node

import (
	"context"
	"time"

	"github.com/cam-os/edge/node/api"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// StartAgent implements api.Node.
func (n *Node) StartAgent(ctx context.Context, name string, pid int) (string, error) {
	path, err := n.registry.Start(ctx, name, pid)
	if err != nil {
		return "", err
	}
	n.announce(observe.Agent{Name: name, State: observe.Running, Cgroup: path})
	return path, nil
}

// Series implements api.Node.
func (n *Node) Series(_ context.Context, q api.SeriesQuery) (api.SeriesResult, error) {
	now := time.Now()
	points, resolution, err := n.store.Series(now.Add(-q.Since), now, q.Step, q.Accounts)
	if err != nil {
		return api.SeriesResult{}, err
	}
	out := api.SeriesResult{Resolution: resolution, Points: make([]api.SeriesPoint, 0, len(points))}
	for _, p := range points {
		sp := api.SeriesPoint{Start: p.Start, Covered: p.Covered, Usage: make(map[string]ledger.Usage, len(p.Values))}
		for _, v := range p.Values {
			sp.Usage[v.Account] = ledgerUsage(v.Usage)
		}
		out.Points = append(out.Points, sp)
	}
	return out, nil
}
