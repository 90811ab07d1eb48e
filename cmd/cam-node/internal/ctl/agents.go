package ctl

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cam-os/edge/cmd/cam-node/internal/report"
)

func (s *Session) agentsCommand() *cobra.Command {
	var (
		zone, order string
		breakdown   bool
		wide        bool
	)
	c := &cobra.Command{
		Use:     "agents [NAME...]",
		Aliases: []string{"ps"},
		Short:   "What every agent uses: CPU, I/O, watts and joules",
		Long: `What every agent used in the latest interval (CPU, READ/S, WRITE/S, WATTS) and
since its account was opened (CPU-TIME, READ, WRITTEN, JOULES). Below the agents:
system is everything that is no agent, idle is what a quiet machine draws anyway,
unattributed is what was metered but cannot be charged to anybody.

STATE is running (its cgroup holds processes), empty (it holds none), ended (it is
gone) or absent (an agent of the configuration before its first start). Accounts
of ended agents stay. A dash is what this node does not measure.

MEMORY is the working set: what the kernel cannot drop at once. --wide adds what
reached the disks (DISK), how long tasks were ready to run before they ran (WAIT),
throttling, the share of time in which some task stalled, memory and traffic, and
ESCAPED, tasks that somebody moved out; camctl agent NAME shows one agent alone.

CPU is of one CPU: 200% are two CPUs kept busy. Energy is of one zone, summed over
sockets; zones overlap and are never added up.`,
		Example: `  camctl agents
  camctl agents agent-b --json
  camctl agents --wide --sort disk
  camctl agents --breakdown`,
		RunE: func(c *cobra.Command, names []string) error {
			if err := checkSort(order); err != nil {
				return err
			}
			o, err := s.observe(c.Context(), names, breakdown)
			if err != nil {
				return s.orAlike(c.Context(), err, names)
			}
			if s.json {
				return s.writeJSON(o)
			}
			z, err := report.ChooseZone(o.Zones, zone)
			if err != nil {
				return err
			}
			o.Sort(z, report.SortKey(order))
			style := s.style()
			style.Wide = wide
			out := style.Charset.Writer(s.Stdout)
			if err := report.WriteAgents(out, o, z, style); err != nil || !breakdown {
				return err
			}
			if _, err := io.WriteString(out, "\n"); err != nil {
				return err
			}
			return report.WriteBreakdown(out, o, z, style)
		},
		ValidArgsFunction: s.completeAgents,
	}
	s.jsonFlag(c)
	c.Flags().BoolVar(&wide, "wide", false, "every figure, however wide: disks, waits, memory, network")
	c.Flags().BoolVar(&breakdown, "breakdown", false, "also list the cgroups that system consists of")
	s.zoneFlag(c, &zone)
	sortFlag(c, &order, report.ByName)
	return c
}

func (s *Session) zoneFlag(c *cobra.Command, zone *string) {
	c.Flags().StringVar(zone, "zone", "", "the energy zone to show: package, core, uncore, dram or psys (default package)")
	_ = c.RegisterFlagCompletionFunc("zone", s.completeZones)
}

func sortFlag(c *cobra.Command, order *string, value report.SortKey) {
	c.Flags().StringVar(order, "sort", string(value), "sort agents by "+strings.Join(report.SortKeys(), ", "))
	_ = c.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(report.SortKeys(), cobra.ShellCompDirectiveNoFileComp))
}

func checkSort(order string) error {
	if !slices.Contains(report.SortKeys(), order) {
		return &UsageError{fmt.Errorf("cannot sort by %q: choose one of %s", order, strings.Join(report.SortKeys(), ", "))}
	}
	return nil
}
