package ctl

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cam-os/edge/cmd/cam-node/internal/client"
	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

func (s *Session) energyCommand() *cobra.Command {
	var (
		since  = text.Positive(time.Hour)
		step   text.Positive
		agents []string
		zone   string
	)
	c := &cobra.Command{
		Use:   "energy",
		Short: "Joules per account over a span of time",
		Long: `Joules per account over a span of time, with mean power, share, CPU time, and
what a second of CPU time cost. The last lines say where the figures came from,
and prove that no joule was lost: agents + system + idle + unattributed = metered.

The node keeps an hour at 1 s in memory, and a week at 1 min and a year at 1 h on
disk. A day is written 1d or 24h.`,
		Example: `  camctl energy --since 10m
  camctl energy --since 7d --step 1h --agent agent-b
  camctl energy --zone dram --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := s.history(c.Context(), time.Duration(since), time.Duration(step), agents, zone)
			if err != nil {
				return err
			}
			if s.json {
				return s.writeJSON(h)
			}
			style := s.style()
			return report.WriteEnergy(style.Charset.Writer(s.Stdout), h, len(agents) == 0, style)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	s.jsonFlag(c)
	c.Flags().Var(&since, "since", "how far back: 10m, 24h, 7d")
	c.Flags().Var(&step, "step", "width of a point (default: about a hundred points)")
	c.Flags().StringSliceVar(&agents, "agent", nil, "only this agent; may be repeated")
	_ = c.RegisterFlagCompletionFunc("agent", s.completeAgents)
	s.zoneFlag(c, &zone)
	return c
}

// history asks for a series, and for the zones that prove conservation.
func (s *Session) history(ctx context.Context, since, step time.Duration, agents []string, zone string) (report.History, error) {
	var none report.History
	c, err := s.open()
	if err != nil {
		return none, err
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, client.Patience)
	defer cancel()
	if step == 0 {
		step = report.Step(since)
	}
	series, err := c.Operator.Series(ctx, &camv1.SeriesRequest{
		Since: durationpb.New(since), Step: durationpb.New(step), Accounts: agents,
	})
	if err != nil {
		return none, c.Explain(err)
	}
	now, err := c.Observe(ctx, &camv1.ObserveRequest{})
	if err != nil {
		return none, c.Explain(err)
	}
	o := report.FromObservation(now.GetObservation())
	// A zone that is gone today may still be in the window.
	chosen := zone
	if past := report.SeriesZones(series.GetPoints()); zone == "" || !slices.Contains(past, zone) {
		if chosen, err = report.ChooseZone(o.Zones, zone); err != nil {
			return none, err
		}
		if chosen == "" {
			chosen = report.PrimaryZone(past)
		}
	}
	h := report.FromSeries(series, chosen, o.Zones, o.Measured)
	for _, name := range agents {
		if !h.Has(name) && !o.Has(name) {
			return none, fmt.Errorf("there is no agent %q, and there was none in this window: `camctl agents` lists them", text.Clean(name))
		}
	}
	return h, nil
}
