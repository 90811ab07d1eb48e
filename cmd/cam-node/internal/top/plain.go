package top

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cam-os/edge/cmd/cam-node/internal/report"
)

// Options of both faces.
type Options struct {
	Zone string // "" for the primary one
	// View is a view's name; "" for the usual one.
	View string
	// Sort is what agents are sorted by; "" for the view's usual.
	Sort       report.SortKey
	Iterations int // end after so many observations; 0 never
	Style      report.Style
	// Past returns what was measured before first, oldest first, at intervals
	// like its; an empty observation where there was nothing. It may be nil.
	Past func(ctx context.Context, first report.Observation) []report.Observation
	// Temporary says which errors of Follow are worth waiting for.
	Temporary func(error) bool
}

// Plain writes one table per observation to out, and what happens to the node
// to errs. Where figures come from is said with the first one, and when it
// changes. It writes no escape codes.
func Plain(ctx context.Context, follow Follow, o Options, out, errs io.Writer) error {
	n, away, told := 0, false, ""
	view, err := report.ViewNamed(cmp.Or(o.View, cpuView))
	if err != nil {
		return err
	}
	o.Sort = cmp.Or(o.Sort, view.Sorts[0])
	err = watch(ctx, follow, o.Temporary, func(e event) error {
		if e.lost != nil {
			if !away {
				away = true
				_, err := fmt.Fprintf(errs, "%v\nwaiting for it\n", e.lost)
				return err
			}
			return nil
		}
		if away {
			away = false
			if _, err := fmt.Fprintln(errs, "the node is back"); err != nil {
				return err
			}
		}
		zone, err := report.ChooseZone(e.observation.Zones, o.Zone)
		if err != nil {
			return err
		}
		if n > 0 {
			if _, err := io.WriteString(out, "\n"); err != nil {
				return err
			}
		}
		e.observation.Sort(zone, o.Sort)
		if err := report.WriteView(out, e.observation, zone, view, o.Style); err != nil {
			return err
		}
		tell := "\n" + report.Moment(e.observation, o.Style)
		if origin := report.Origin(e.observation, zone, o.Style); origin != told {
			told = origin
			tell += origin
		}
		if _, err := io.WriteString(out, tell); err != nil {
			return err
		}
		if n++; n == o.Iterations {
			return errDone
		}
		return nil
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}
