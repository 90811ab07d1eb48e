package node

import (
	"context"
	"errors"
	"time"

	"github.com/cam-os/edge/node/agent"
	"github.com/cam-os/edge/node/api"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// StartAgent implements api.Node.
func (n *Node) StartAgent(ctx context.Context, name string, pid int) (string, error) {
	path, err := n.registry.Start(ctx, name, pid)
	if err != nil {
		return "", forCaller(err)
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

// callerError is an error of a room below, marked so that the caller learns
// what kind it is.
type callerError struct {
	error
	kind error
}

func (e callerError) Unwrap() []error { return []error{e.error, e.kind} }

func forCaller(err error) error {
	for _, k := range []struct{ is, kind error }{
		{agent.ErrInvalidName, api.ErrInvalidName}, {agent.ErrNameTaken, api.ErrNameTaken},
		{agent.ErrTooMany, api.ErrTooMany}, {agent.ErrUnsupported, api.ErrUnsupported},
	} {
		if errors.Is(err, k.is) {
			return callerError{err, k.kind}
		}
	}
	return err
}
