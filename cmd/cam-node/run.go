package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	oklog "github.com/oklog/run"
	"github.com/spf13/cobra"

	"github.com/cam-os/edge/node"
	"github.com/cam-os/edge/node/api"
	"github.com/cam-os/edge/node/metrics"
)

func newRunCommand() *cobra.Command {
	var file string
	flags := node.DefaultConfig()
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the node in the foreground",
		Long: `Run the node in the foreground: measure every agent, keep the accounts, and
answer on a unix socket and to Prometheus.

As root everything is measured. As an ordinary user the node measures what is
left, and names what is missing (see camctl doctor).

A YAML file says the same as the flags, and more; a flag wins over the file. On
SIGHUP it is read again: what cannot change while the node runs is logged, and a
file with a mistake changes nothing.`,
		Example: `  cam-node run
  cam-node run --config /etc/cam/node.yaml
  cam-node run --state-dir ./var --socket ./var/cam.sock --metrics-address localhost:9465`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), func() (node.Config, error) { return configure(cmd, file, flags) }, cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "configuration file (YAML)")
	f.StringVar(&flags.StateDir, "state-dir", flags.StateDir, "directory for what must survive")
	f.StringVar(&flags.Socket, "socket", flags.Socket, "unix socket to answer on")
	f.StringVar(&flags.Metrics.Address, "metrics-address", flags.Metrics.Address, "host:port for Prometheus, empty for none")
	f.StringVar(&flags.Metrics.WebConfig, "web.config.file", flags.Metrics.WebConfig, "TLS and basic authentication, in the format of Prometheus' exporter-toolkit")
	f.DurationVar(&flags.Interval, "interval", flags.Interval, "time between two samples")
	f.StringVar(&flags.Path.Sysfs, "path.sysfs", flags.Path.Sysfs, "where sysfs is mounted")
	f.StringVar(&flags.Path.Procfs, "path.procfs", flags.Path.Procfs, "where procfs is mounted")
	f.StringVar(&flags.Path.Cgroup, "path.cgroup", flags.Path.Cgroup, "where cgroups are mounted")
	return cmd
}

// configure reads the file and lays the flags that were given over it.
func configure(cmd *cobra.Command, file string, flags node.Config) (node.Config, error) {
	cfg := node.DefaultConfig()
	if file != "" {
		var err error
		if cfg, err = node.CheckConfig(file); err != nil {
			return cfg, err
		}
	}
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	for name, set := range map[string]func(){
		"state-dir":       func() { cfg.StateDir = flags.StateDir },
		"socket":          func() { cfg.Socket = flags.Socket },
		"metrics-address": func() { cfg.Metrics.Address = flags.Metrics.Address },
		"web.config.file": func() { cfg.Metrics.WebConfig = flags.Metrics.WebConfig },
		"interval":        func() { cfg.Interval = flags.Interval },
		"path.sysfs":      func() { cfg.Path.Sysfs = flags.Path.Sysfs },
		"path.procfs":     func() { cfg.Path.Procfs = flags.Path.Procfs },
		"path.cgroup":     func() { cfg.Path.Cgroup = flags.Path.Cgroup },
	} {
		if given(name) {
			set()
		}
	}
	if err := cfg.Absolute(); err != nil {
		return cfg, err
	}
	return cfg, cfg.Validate()
}

// run is the daemon: it returns when a signal or a failure ends it. It calls
// configure when it starts and on each SIGHUP.
func run(ctx context.Context, configure func() (node.Config, error), stderr io.Writer) (err error) {
	log := logger(stderr)
	defer func() {
		if err != nil { // what systemctl status and, without a node, camctl doctor show
			notify(log, "STATUS="+oneLine(err))
		}
	}()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	cfg, err := configure()
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		// The live heap is a few megabytes: fewer collections cost as many
		// megabytes more, and a third less CPU time (bench).
		debug.SetGCPercent(240)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	n, err := node.Open(cfg, version(), log)
	if err != nil {
		return forOrdinaryUsers(err)
	}
	reload := reloader(ctx, hangups, n, configure, log)
	err = serve(ctx, n, cfg, reload, log)
	return forOrdinaryUsers(errors.Join(err, n.Close()))
}

func serve(ctx context.Context, n *node.Node, cfg node.Config, reload actor, log *slog.Logger) error {
	var group oklog.Group
	group.Add(oklog.ContextHandler(ctx))
	group.Add(reload.run, reload.stop)

	listener, err := api.Listen(cfg.Socket)
	if err != nil {
		return err
	}
	if listener.Note != "" {
		log.Info("socket", "note", listener.Note)
	}
	server, err := api.NewServer(api.Config{Node: n, Coarse: n.Coarse(), Log: log})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	serving, stopServing := context.WithCancel(ctx)
	group.Add(func() error { return server.Serve(serving, listener) }, func(error) { stopServing() })

	if cfg.Metrics.Address != "" {
		latest, err := n.MetricsSource(cfg.Metrics)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		m, err := metrics.Listen(cfg.Metrics, metrics.NewCollector(latest, n.Gauges()...), version(), log)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		log.Info("metrics", "url", "http://"+m.Address()+"/metrics")
		group.Add(m.Serve, func(error) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			_ = m.Shutdown(ctx)
		})
	}

	loop, cancel := context.WithCancel(ctx)
	group.Add(func() error {
		return n.Run(loop, func() {
			log.Info("node is up", "socket", cfg.Socket, "state", cfg.StateDir)
			watchdog(log, cfg.Interval)
			notify(log, daemon.SdNotifyReady)
		}, func() { notify(log, daemon.SdNotifyWatchdog) })
	}, func(error) { cancel() })

	err = group.Run()
	notify(log, daemon.SdNotifyStopping)
	if err == nil || errors.Is(err, context.Canceled) {
		log.Info("node has stopped")
		return nil
	}
	return err
}

// forOrdinaryUsers says what to do where the defaults are for root.
func forOrdinaryUsers(err error) error {
	if os.Geteuid() == 0 || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w; as an ordinary user give --state-dir and --socket in a directory of yours, as `make run` does", err)
}
