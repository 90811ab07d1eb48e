// Package ctl is the people's half of the node: the commands of camctl.
package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cam-os/edge/cmd/cam-node/internal/client"
	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// Exit codes of camctl. `camctl run` ends with the program's own, or with a
// shell's 126 and 127 where the program could not be started.
const (
	ExitOK          = 0
	ExitFailure     = 1
	ExitUsage       = 2
	ExitUnreachable = 3
	ExitCannotRun   = 126
	ExitNotFound    = 127
)

const exitCodesHelp = `
Exit codes:
  0  done
  1  it failed
  2  it was called wrongly
  3  no node answers
`

// Session is what the commands of one invocation share.
type Session struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Version of this program.
	Version string

	socket string
	json   bool
}

// AddTo gives parent the commands of camctl and their shared flags.
func (s *Session) AddTo(parent *cobra.Command) {
	parent.PersistentFlags().StringVar(&s.socket, "socket", "",
		"the node's socket (default $CAM_SOCKET, ./var/cam.sock, /run/cam/cam.sock)")
	parent.AddGroup(&cobra.Group{ID: "agents", Title: "Agents:"}, &cobra.Group{ID: "node", Title: "Node:"})
	for _, c := range []*cobra.Command{s.runCommand(), s.agentsCommand(), s.agentCommand(), s.topCommand(), s.energyCommand(), s.observeCommand()} {
		c.GroupID = "agents"
		parent.AddCommand(c)
	}
	for _, c := range []*cobra.Command{s.doctorCommand(), s.checkConfigCommand(), s.storeCommand(), s.supportBundleCommand()} {
		c.GroupID = "node"
		parent.AddCommand(c)
	}
	parent.Long += "\n" + exitCodesHelp
}

// UsageError says that a command was called wrongly.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// exitError ends the program with a code of its own; without an error nothing
// more is to be said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

// ExitCode is the exit code that err stands for.
func ExitCode(err error) int {
	var (
		exit  *exitError
		usage *UsageError
		wrong *client.InvalidError
		away  *client.UnreachableError
	)
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, syscall.EPIPE):
		return ExitOK
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &usage), errors.As(err, &wrong):
		return ExitUsage
	case errors.As(err, &away):
		return ExitUnreachable
	}
	return ExitFailure
}

// Finish makes wrong flags and arguments of c and all commands below it usage
// errors, and lets a group of commands show its help.
func Finish(c *cobra.Command) {
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &UsageError{err} })
	if c.HasSubCommands() && !c.Runnable() {
		c.Args = noCommand
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		c.DisableFlagsInUseLine = true
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &UsageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		Finish(sub)
	}
}

// noCommand refuses what is no command of the group c.
func noCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	msg := fmt.Sprintf("there is no command %q", args[0])
	// Two letters off is a slip in a long word and another word in a short one.
	c.SuggestionsMinimumDistance = 1 + min(1, len(args[0])/5)
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		msg += fmt.Sprintf(": did you mean %q?", near[0])
	}
	return errors.New(msg)
}

// Execute runs root. Cobra helps with a group when asked for help with a
// command that the group does not have; this refuses.
func Execute(ctx context.Context, root *cobra.Command) (*cobra.Command, error) {
	var wrong error
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		if c.HasSubCommands() {
			if err := noCommand(c, c.Flags().Args()); err != nil {
				wrong = &UsageError{err}
				return
			}
		}
		help(c, args)
	})
	c, err := root.ExecuteContextC(ctx)
	if wrong != nil {
		err = wrong
	}
	return c, err
}

func (s *Session) jsonFlag(c *cobra.Command) {
	c.Flags().BoolVar(&s.json, "json", false, "write JSON instead of a table")
}

func (s *Session) open() (*client.Client, error) {
	return client.Open(client.Find(s.socket, s.Getenv))
}

// observe asks for one observation.
func (s *Session) observe(ctx context.Context, accounts []string, breakdown bool) (report.Observation, error) {
	c, err := s.open()
	if err != nil {
		return report.Observation{}, err
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, client.Patience)
	defer cancel()
	r, err := c.Observe(ctx, &camv1.ObserveRequest{Accounts: accounts, Breakdown: breakdown})
	if err != nil {
		return report.Observation{}, c.Explain(err)
	}
	return report.FromObservation(r.GetObservation()), nil
}

// writeJSON writes v, indented for a person's eye.
func (s *Session) writeJSON(v any) error {
	e := json.NewEncoder(s.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeLine writes v as one line.
func (s *Session) writeLine(v any) error { return json.NewEncoder(s.Stdout).Encode(v) }

// style fits tables to the terminal; in a pipe they are as wide as it takes.
func (s *Session) style() report.Style {
	style := report.Style{Charset: text.ForTerminal(s.Getenv)}
	if fd, ok := terminal(s.Stdout); ok {
		if width, _, err := term.GetSize(fd); err == nil {
			style.Width = width
		}
	}
	return style
}

func terminal(w io.Writer) (fd int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return 0, false
	}
	fd = int(f.Fd()) // #nosec G115 -- descriptors are small
	return fd, term.IsTerminal(fd)
}

// untilInterrupted ends with Ctrl-C or SIGTERM.
func untilInterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// completeAgents offers the names of agents to the shell.
func (s *Session) completeAgents(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	o, err := s.observe(c.Context(), nil, false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, a := range o.Accounts {
		if a.Kind == report.Agent {
			names = append(names, cobra.CompletionWithDesc(a.Name, a.State))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (s *Session) completeZones(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	o, err := s.observe(c.Context(), nil, false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return report.ZoneNames(o.Zones), cobra.ShellCompDirectiveNoFileComp
}
