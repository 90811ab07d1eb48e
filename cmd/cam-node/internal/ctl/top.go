package ctl

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cam-os/edge/cmd/cam-node/internal/client"
	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
	"github.com/cam-os/edge/cmd/cam-node/internal/top"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

func (s *Session) topCommand() *cobra.Command {
	var (
		zone, order, view string
		interval          text.Positive
		iterations        int
		plain             bool
	)
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch agents live, with curves of their watts",
		Long: `Watch agents live. In a terminal: an interface with curves. Keys switch the view:
c (CPU and energy), i (I/O), m (memory), w (waits), n (network); s sorts by the next
column, z chooses the energy zone, space pauses, ? helps, q quits. In a pipe, or where
TERM is dumb: one plain table of --view per interval. When the node goes away, it says
so and goes on when the node is back.

Views:
  cpu      CPU, own I/O, watts, joules
  io       READ/S and WRITE/S are the agents' own rate; DISK-RD and DISK-WR what
           reached the disks, in bursts as writeback has it; P99 how long disks took
  memory   WORKING is what cannot be dropped at once; OOM counts killed processes
  waits    P50 and P99 of how long tasks were ready to run before they ran;
           THROTTLED by cpu.max; CPU, I/O and MEMORY: share of time in which some
           task stalled
  network  of the sockets that agents made, loopback too

A dash is what is not measured; camctl agent NAME says why.

NO_COLOR is respected. Figures of a simulator are always marked SIMULATED.`,
		Example: `  camctl top
  camctl top --view io
  camctl top --sort cpu --interval 5s
  camctl top -n 1 | head`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("sort") {
				if err := checkSort(order); err != nil {
					return err
				}
			}
			if _, err := report.ViewNamed(view); err != nil {
				return &UsageError{err}
			}
			if iterations < 0 {
				return &UsageError{errors.New("--iterations cannot be negative")}
			}
			ctx, stop := untilInterrupted(c.Context())
			defer stop()
			follow := s.follow(time.Duration(interval))
			if s.json {
				return s.topJSON(ctx, follow, iterations)
			}
			options := top.Options{
				Zone: zone, View: view, Sort: report.SortKey(order), Iterations: iterations, Style: s.style(), Temporary: temporary,
			}
			if _, tty := terminal(s.Stdout); !tty || plain || s.Getenv("TERM") == "dumb" || s.Getenv("TERM") == "" {
				return top.Plain(ctx, follow, options, options.Style.Charset.Writer(s.Stdout), s.Stderr)
			}
			options.Past = func(ctx context.Context, first report.Observation) []report.Observation {
				step := time.Duration(first.IntervalNanoseconds) // #nosec G115 -- an interval
				return s.past(ctx, max(step, time.Duration(interval)).Round(time.Second), first.Measured)
			}
			host, _ := os.Hostname() // a title; nothing depends on it
			return top.Terminal(ctx, follow, options, host, s.Stdin, s.Stdout)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	s.jsonFlag(c)
	c.Flags().Lookup("json").Usage = "write JSON lines, as camctl observe --follow does"
	c.Flags().Var(&interval, "interval", "least time between two tables (default: the node's)")
	c.Flags().IntVarP(&iterations, "iterations", "n", 0, "end after so many (default: never)")
	c.Flags().BoolVar(&plain, "plain", false, "plain tables also in a terminal")
	s.zoneFlag(c, &zone)
	sortFlag(c, &order, "")
	c.Flags().StringVar(&view, "view", report.Views()[0].Name, "what to show: "+strings.Join(report.ViewNames(), ", "))
	_ = c.RegisterFlagCompletionFunc("view", cobra.FixedCompletions(report.ViewNames(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

// past asks what the curves of top would show, had it run before. Whoever is
// refused, as agents are, begins with empty ones.
func (s *Session) past(ctx context.Context, step time.Duration, measured report.Measured) []report.Observation {
	if step < time.Second {
		return nil // finer than what the node keeps
	}
	node, err := s.open()
	if err != nil {
		return nil
	}
	defer func() { _ = node.Close() }()
	ctx, cancel := context.WithTimeout(ctx, client.Patience)
	defer cancel()
	r, err := node.Operator.Series(ctx, &camv1.SeriesRequest{
		Since: durationpb.New(min(top.Kept*step, 24*time.Hour)), Step: durationpb.New(step),
	})
	if err != nil {
		return nil
	}
	return report.Past(r.GetPoints(), step, measured, top.Kept)
}

// temporary says that a node may come back; being refused does not pass.
func temporary(err error) bool {
	var away *client.UnreachableError
	return errors.As(err, &away)
}

// follow streams over a new connection each time, so that a returning node is
// found at once.
func (s *Session) follow(interval time.Duration) top.Follow {
	return func(ctx context.Context, use func(report.Observation) error) error {
		node, err := s.open()
		if err != nil {
			return err
		}
		defer func() { _ = node.Close() }()
		request := &camv1.ObserveStreamRequest{Interval: durationpb.New(interval)}
		return stream(ctx, node, request, func(o report.Observation) (bool, error) { return false, use(o) })
	}
}

func (s *Session) topJSON(ctx context.Context, follow top.Follow, iterations int) error {
	n := 0
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return follow(ctx, func(o report.Observation) error {
		if err := s.writeLine(o); err != nil {
			return err
		}
		if n++; n == iterations {
			return context.Canceled // done; not a failure
		}
		return nil
	})
}
