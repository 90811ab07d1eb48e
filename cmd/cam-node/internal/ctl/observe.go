package ctl

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cam-os/edge/cmd/cam-node/internal/client"
	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

func (s *Session) observeCommand() *cobra.Command {
	var (
		follow, breakdown bool
		interval          text.Positive
		iterations        int
	)
	c := &cobra.Command{
		Use:   "observe [NAME...]",
		Short: "Observations as JSON lines, for programs",
		Long: `Observations as JSON, one a line: every account, zone and remark that the node has.
Numbers are exact integers with the unit in their name. With --follow one line after
each measured interval, until the node ends (exit code 3) or Ctrl-C. What this
node does not measure is null: .measured says what.`,
		Example: `  camctl observe | jq '.accounts[] | {name, cpu: .total.cpu_nanoseconds}'
  camctl observe --follow --interval 10s agent-b >> agent-b.jsonl`,
		RunE: func(c *cobra.Command, names []string) error {
			if iterations < 0 {
				return &UsageError{errors.New("--iterations cannot be negative")}
			}
			if !follow && iterations == 0 {
				o, err := s.observe(c.Context(), names, breakdown)
				if err != nil {
					return s.orAlike(c.Context(), err, names)
				}
				return s.writeLine(o)
			}
			ctx, stop := untilInterrupted(c.Context())
			defer stop()
			node, err := s.open()
			if err != nil {
				return err
			}
			defer func() { _ = node.Close() }()
			request := &camv1.ObserveStreamRequest{Accounts: names, Breakdown: breakdown, Interval: durationpb.New(time.Duration(interval))}
			n := 0
			return stream(ctx, node, request, func(o report.Observation) (bool, error) {
				if n++; n == 1 && allThere(o, names) != nil {
					all, err := s.observe(ctx, nil, false)
					if err == nil {
						err = allThere(all, names)
					}
					if err != nil {
						return false, err
					}
				}
				return n == iterations, s.writeLine(o)
			})
		},
		ValidArgsFunction: s.completeAgents,
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with each interval")
	c.Flags().BoolVar(&breakdown, "breakdown", false, "also list the cgroups that system consists of")
	c.Flags().Var(&interval, "interval", "least time between two observations")
	c.Flags().IntVarP(&iterations, "iterations", "n", 0, "follow, and end after so many (default: never)")
	c.Flags().Bool("json", true, "as always: for symmetry with the other commands")
	return c
}

// stream hands observations to use until it says done, the context ends or the
// node does.
func stream(ctx context.Context, node *client.Client, request *camv1.ObserveStreamRequest, use func(report.Observation) (done bool, err error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	observations, err := node.ObserveStream(ctx, request)
	if err != nil {
		return node.Explain(err)
	}
	for {
		r, err := observations.Recv()
		if err != nil {
			return node.Ended(err)
		}
		if done, err := use(report.FromObservation(r.GetObservation())); done || err != nil {
			return err
		}
	}
}
