package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cam-os/edge/energy/simulator"
)

func newTruthCommand() *cobra.Command {
	var root string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "truth",
		Short:   "Show where a simulator's energy really went",
		Example: "  cam-node simulate truth --root /tmp/power",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file := filepath.Join(root, "truth.json")
			data, err := os.ReadFile(file) // #nosec G304 -- the operator names the root
			if err != nil {
				return fmt.Errorf("no simulator drives %s: %w", root, err)
			}
			if asJSON {
				_, err = cmd.OutOrStdout().Write(data)
				return err
			}
			var t simulator.Truth
			if err := json.Unmarshal(data, &t); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			return writeTruth(cmd.OutOrStdout(), t)
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "directory that plays sysfs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	_ = cmd.MarkFlagRequired("root")
	return cmd
}

func writeTruth(w io.Writer, t simulator.Truth) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "CGROUP\tSOCKET\tBUSY s\tJOULES\t")
	for _, c := range t.Cgroups {
		fmt.Fprintf(tw, "%s\t%d\t%.2f\t%.2f\t\n", c.Cgroup, c.Socket, float64(c.Busy)/1e6, c.Active.Joules())
	}
	for _, s := range t.Sockets {
		fmt.Fprintf(tw, "idle\t%d\t\t%.2f\t\n", s.Socket, s.Idle.Joules())
	}
	return tw.Flush()
}
