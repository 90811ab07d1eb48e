// Package top shows live what every agent uses: an interface in the terminal,
// and plain tables in a pipe. It goes on when the node goes away and returns.
package top

import (
	"context"
	"errors"
	"time"

	"github.com/cam-os/edge/cmd/cam-node/internal/report"
)

// Follow hands each observation to use until the node ends (an error), the
// context does, or use returns an error.
type Follow func(ctx context.Context, use func(report.Observation) error) error

// event is an observation, or that the node went away.
type event struct {
	observation report.Observation
	lost        error // nil with an observation
}

// errDone ends watching without a failure.
var errDone = errors.New("done")

// retryAfter is how long to wait for a node that went away.
const retryAfter = time.Second

// watch hands out events until the context ends or use returns an error. That
// the very first connection fails is an error: who mistyped the socket should
// not wait. temporary says which errors are worth waiting for.
func watch(ctx context.Context, follow Follow, temporary func(error) bool, use func(event) error) error {
	seen := false
	for {
		var stop error
		err := follow(ctx, func(o report.Observation) error {
			seen = true
			stop = use(event{observation: o})
			return stop
		})
		switch {
		case stop != nil:
			return stop
		case ctx.Err() != nil:
			return nil
		case err == nil:
			err = errors.New("the node ended the stream")
		case !seen, !temporary(err):
			return err
		}
		if err := use(event{lost: err}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
	}
}
