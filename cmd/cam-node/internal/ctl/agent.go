package ctl

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cam-os/edge/cmd/cam-node/internal/client"
	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

func (s *Session) agentCommand() *cobra.Command {
	var (
		zone     string
		since    = text.Positive(time.Hour)
		interval text.Positive
		watch    bool
	)
	c := &cobra.Command{
		Use:   "agent NAME",
		Short: "One agent on one page, with its past",
		Long: `One agent on one page: what it uses now and used in all (CPU, power, its own I/O
and what the disks did for it, memory, waits, network), its past as curves, its
cgroups, the tasks that left it, and what is not measured of it, with the remedy.

"<4ms" is the upper bound of a quantile: times are counted in powers of two. A curve
has a blank where the node measured nothing, and its own scale: HIGHEST is its top.
An agent that has ended keeps its account and its past.`,
		Example: `  camctl agent agent-b
  camctl agent agent-b --since 24h
  camctl agent agent-b --watch
  camctl agent agent-b --json | jq .agent.memory`,
		Args: exactlyOneAgent,
		RunE: func(c *cobra.Command, args []string) error {
			name := args[0]
			page := func(ctx context.Context, o report.Observation) error {
				if !o.Has(name) { // with --watch: the stream leaves it out
					all, err := s.observe(ctx, nil, false)
					if err != nil {
						return err
					}
					return noAgent(all, name)
				}
				z, err := report.ChooseZone(o.Zones, zone)
				if err != nil {
					return err
				}
				past, err := s.pastOf(ctx, name, time.Duration(since), o)
				if err != nil {
					return err
				}
				p := report.AgentPage(o, name, past)
				if s.json {
					return s.writePageJSON(p, watch)
				}
				style := s.style()
				return report.WritePage(style.Charset.Writer(s.Stdout), p, z, style)
			}
			if watch {
				return s.watchPage(c.Context(), name, time.Duration(interval), page)
			}
			o, err := s.observe(c.Context(), []string{name}, false)
			if err != nil {
				return s.orAlike(c.Context(), err, []string{name})
			}
			return page(c.Context(), o)
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return s.completeAgents(c, args, prefix)
		},
	}
	s.jsonFlag(c)
	c.Flags().Lookup("json").Usage = "write JSON instead of a page; with --watch one line each"
	c.Flags().Var(&since, "since", "how far back: 10m, 24h, 7d")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "again after each interval, until Ctrl-C")
	c.Flags().Var(&interval, "interval", "with --watch: least time between two pages (default: the node's)")
	s.zoneFlag(c, &zone)
	return c
}

func exactlyOneAgent(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 1:
		return nil
	case 0:
		return errors.New("name an agent: `camctl agents` lists them")
	}
	return errors.New("name one agent: `camctl agents NAME...` shows several")
}

func (s *Session) writePageJSON(p report.Page, line bool) error {
	if line {
		return s.writeLine(p)
	}
	return s.writeJSON(p)
}

// watchPage shows a page for each observation. In a terminal each takes the
// place of the last.
func (s *Session) watchPage(ctx context.Context, name string, interval time.Duration, page func(context.Context, report.Observation) error) error {
	ctx, stop := untilInterrupted(ctx)
	defer stop()
	node, err := s.open()
	if err != nil {
		return err
	}
	defer func() { _ = node.Close() }()
	_, tty := terminal(s.Stdout)
	replace := tty && !s.json && s.Getenv("TERM") != "dumb" && s.Getenv("TERM") != ""
	first := true
	request := &camv1.ObserveStreamRequest{Accounts: []string{name}, Interval: durationpb.New(interval)}
	return stream(ctx, node, request, func(o report.Observation) (bool, error) {
		between := ""
		switch {
		case replace:
			between = "\x1b[H\x1b[2J" // home, and clear what is there
		case !first && !s.json:
			between = "\n"
		}
		first = false
		if _, err := io.WriteString(s.Stdout, between); err != nil {
			return false, err
		}
		return false, page(ctx, o)
	})
}

// pastOf asks for an account's past; nil where the caller, an agent, may not
// see it.
func (s *Session) pastOf(ctx context.Context, name string, since time.Duration, o report.Observation) (*report.PastUsage, error) {
	node, err := s.open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = node.Close() }()
	ctx, cancel := context.WithTimeout(ctx, client.Patience)
	defer cancel()
	// Steps as short as the node's interval would have gaps where a timer was
	// late.
	interval := time.Duration(min(o.IntervalNanoseconds, uint64(time.Hour))) // #nosec G115 -- capped
	step := max(report.Step(since), 2*interval.Round(time.Second))
	r, err := node.Operator.Series(ctx, &camv1.SeriesRequest{
		Since: durationpb.New(since), Step: durationpb.New(step), Accounts: []string{name},
	})
	var refused *client.PermissionError
	switch err := node.Explain(err); {
	case errors.As(err, &refused):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return report.FromPast(r, name, since, step, o.Measured), nil
}
