package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/cam-os/edge/energy/simulator"
)

func newSimulateCommand() *cobra.Command {
	var (
		file   string
		period time.Duration
		cfg    simulator.Config
		idle   float64
		agents float64
	)
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Simulate a machine's power with a known truth, where there is no meter",
		Long: `Simulate a machine's power with a known truth.

It drives a powercap tree below --root from what the processes of this machine
really do: an idle power per socket, and a power per busy CPU for the cgroups
that match a pattern. A node that is given the tree with --path.sysfs calls
every figure from it "simulated". The truth lies beside it, in truth.json.`,
		Example: `  cam-node simulate --root /tmp/power --idle 5 --agents 10 &
  cam-node run --state-dir ./var --socket ./var/cam.sock --path.sysfs /tmp/power`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file != "" {
				root := cfg.Root
				if err := readSimulation(file, &cfg); err != nil {
					return err
				}
				if root != "" {
					cfg.Root = root
				}
			} else {
				cfg.Sockets = []simulator.Socket{{IdleWatts: idle}}
				cfg.Loads = []simulator.Load{{Cgroup: "/cam.slice/*", Watts: agents}}
			}
			if cfg.Root == "" {
				return errors.New("give the directory of the simulated sysfs with --root")
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			s, err := simulator.New(cfg, simulator.Boottime())
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "simulating power below %s; give the node --path.sysfs %s\n", cfg.Root, cfg.Root)
			if err := s.Run(ctx, period); err != nil && !errors.Is(err, ctx.Err()) {
				return err
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "YAML file with sockets and loads; see docs/configuration.md")
	f.StringVar(&cfg.Root, "root", "", "directory that plays sysfs")
	f.StringVar(&cfg.Cgroup, "path.cgroup", "", "the cgroup2 root (default: found)")
	f.StringVar(&cfg.Procfs, "path.procfs", "", "where procfs is mounted (default /proc)")
	f.Float64Var(&idle, "idle", 5, "watts of the socket when nothing runs")
	f.Float64Var(&agents, "agents", 10, "watts per busy CPU of every agent below cam.slice")
	f.Float64Var(&cfg.OtherWatts, "other", 5, "watts per busy CPU of everything else")
	f.Float64Var(&cfg.RangeJoules, "range", 0, "joules at which the counter wraps (0: as RAPL's, 262143.3)")
	f.DurationVar(&period, "period", 10*time.Millisecond, "time between two steps")
	cmd.AddCommand(newTruthCommand())
	return cmd
}

func readSimulation(file string, cfg *simulator.Config) error {
	f, err := os.Open(file) // #nosec G304 -- the operator names the file
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(cfg); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
