package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/cam-os/edge/node"
	"github.com/cam-os/edge/systemd"
)

// What a service manager sees of the node: its log, its signals, its messages.

// logger writes to the journal with fields where systemd has connected stderr
// to it, and text elsewhere.
func logger(stderr io.Writer) *slog.Logger {
	text := slog.NewTextHandler(stderr, nil)
	if h, ok := systemd.JournalHandler("cam-node", text); ok {
		return slog.New(h)
	}
	return slog.New(text)
}

// actor is what an oklog.Group runs.
type actor struct {
	run  func() error
	stop func(error)
}

// reloader takes up the configuration again on each hangup.
func reloader(ctx context.Context, hangups <-chan os.Signal, n *node.Node, configure func() (node.Config, error), log *slog.Logger) actor {
	ctx, cancel := context.WithCancel(ctx)
	return actor{
		run: func() error {
			for {
				select {
				case <-hangups:
					reload(n, configure, log)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		},
		stop: func(error) { cancel() },
	}
}

// reload says what became of it in the log and, in one line, to systemd.
func reload(n *node.Node, configure func() (node.Config, error), log *slog.Logger) {
	notify(log, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
	status := "STATUS="
	cfg, err := configure()
	var restart []string
	if err == nil {
		restart, err = n.Reload(cfg)
	}
	switch {
	case err != nil:
		log.Error("the configuration is refused, the node goes on with what it had", "err", err)
		status += "configuration refused: " + oneLine(err)
	case len(restart) > 0:
		log.Warn("the configuration is taken up, except what needs a restart", "restart", strings.Join(restart, " "))
		status += "restart for: " + strings.Join(restart, " ")
	default:
		log.Info("the configuration is taken up")
	}
	if err == nil {
		watchdog(log, cfg.Interval)
	}
	notify(log, daemon.SdNotifyReady+"\n"+status)
}

// oneLine is an error as a status, which has one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// watchdog asks systemd for more patience than the unit gives where samples are
// further apart; three may be late.
func watchdog(log *slog.Logger, interval time.Duration) {
	patience, err := daemon.SdWatchdogEnabled(false)
	if err != nil || patience == 0 {
		return
	}
	notify(log, fmt.Sprintf("WATCHDOG_USEC=%d", max(patience, 3*interval).Microseconds()))
}

// notify tells systemd, where there is one.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot notify systemd", "err", fmt.Errorf("%s: %w", state, err))
	}
}
