// Command bench measures what the node costs and how true its figures are,
// against the kernel's own figures, a simulator's truth and another exporter,
// all in the same run. It prints a table and writes bench/RESULTS.md.
//
//	go run ./bench [-quick] [-only REGEXP] [-out FILE]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/cam-os/edge/bench/internal/rig"
)

// bench is one run of it.
type bench struct {
	rig   *rig.Rig
	quick bool
	log   io.Writer
	rows  []row
}

// A part measures something and adds rows.
type part struct {
	name string
	run  func(*bench, context.Context) error
}

// parts in the order that they run in.
var parts = []part{
	{"startup", (*bench).startup},
	{"footprint", (*bench).footprint},
	{"bursts", (*bench).bursts},
	{"probes", (*bench).probes},
	{"conservation", (*bench).conservation},
}

// limit ends a bench that hangs; a whole one takes some five minutes.
const limit = 12 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	quick := flags.Bool("quick", false, "fewer and shorter runs: two minutes instead of six, and no bursts of 20 s")
	only := flags.String("only", "", "run the parts whose names match: startup, footprint, bursts, probes")
	out := flags.String("out", "", "also write the results to this file, as Markdown")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m := thisMachine(time.Now())
	b := &bench{quick: *quick, log: stderr}
	b.rig, err = rig.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.rig.Close()) }()
	for _, p := range parts {
		if !wanted.MatchString(p.name) && p.name != "conservation" {
			continue
		}
		fmt.Fprintf(stderr, "bench: %s\n", p.name)
		if err := p.run(b, ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// The others are worth having.
			b.add(row{What: p.name, Measured: "not measured", Met: missed, Against: err.Error()})
		}
	}
	if err := writeText(stdout, b.rows); err != nil {
		return err
	}
	if *out == "" {
		return nil
	}
	f, err := os.Create(*out) // #nosec G304 -- the caller names the file
	if err != nil {
		return err
	}
	return errors.Join(writeMarkdown(f, m, *quick, b.rows), f.Close())
}

func (b *bench) add(r row) { b.rows = append(b.rows, r) }

func (b *bench) conservation(context.Context) error {
	worst, zones, observations, scrapes := b.rig.Residual.Worst()
	if zones == 0 {
		return nil // no part looked at a zone
	}
	b.add(row{
		What: "Conservation: metered − agents − system − idle − unattributed", Measured: fmt.Sprintf("%g µJ", worst),
		Target: "0 µJ", Met: verdict(worst == 0),
		Against: fmt.Sprintf("the worst of all zones in %d observations (computed anew, also from all accounts) and %d scrapes of this run", observations, scrapes),
	})
	return nil
}
