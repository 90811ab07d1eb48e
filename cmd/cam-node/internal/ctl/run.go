package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cam-os/edge/cmd/cam-node/internal/client"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

func (s *Session) runCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "run --name NAME -- COMMAND [ARGUMENT...]",
		// Flags come before the command: what follows it is its own.
		DisableFlagsInUseLine: true,

		Short: "Run a program as an agent",
		Long: `Run a program as an agent: the node makes a cgroup for it, moves this process
into it, and this process becomes the program. Terminal, signals and exit code
are the program's own.

Exit codes: the program's own; 127 when it was not found, 126 when it cannot be
executed, 3 when no node answers. In these cases nothing was started.`,
		Example: `  camctl run --name agent-b -- sha256sum /dev/zero
  camctl run --name trainer python3 train.py --epochs 3`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name the program to run: camctl run --name NAME -- COMMAND")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if name == "" {
				return &UsageError{errors.New("name the agent: camctl run --name NAME -- COMMAND")}
			}
			if !regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`).MatchString(name) {
				return &UsageError{fmt.Errorf("%q is no agent's name: 1 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit", name)}
			}
			return s.run(c.Context(), name, args)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	c.Flags().StringVarP(&name, "name", "n", "", "the agent's name")
	// What follows the command is the command's own.
	c.Flags().SetInterspersed(false)
	return c
}

// run does not return when all goes well: this process is then the program.
func (s *Session) run(ctx context.Context, name string, args []string) error {
	// Before anything is made, so that a mistyped command leaves no empty agent.
	path, err := exec.LookPath(args[0])
	if err != nil {
		return cannotRun(args[0], err)
	}
	cgroup, err := s.startAgent(ctx, name)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return fmt.Errorf("cannot verify the cgroup of agent %s, so %s was not started: %w", name, args[0], err)
	}
	if here := unified(string(raw)); here != "/"+strings.TrimPrefix(cgroup, "/") {
		return fmt.Errorf("the node said that this process is in cgroup %s, the kernel says %s: %s was not started", text.Clean(cgroup), text.Clean(here), args[0])
	}
	err = syscall.Exec(path, args, os.Environ()) // #nosec G204 -- running the user's command is the purpose
	return cannotRun(args[0], fmt.Errorf("%w (agent %s is there and empty)", err, name))
}

// startAgent moves this process into a new agent's cgroup.
func (s *Session) startAgent(ctx context.Context, name string) (cgroup string, err error) {
	c, err := s.open()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, client.Patience)
	defer cancel()
	r, err := c.Operator.StartAgent(ctx, &camv1.StartAgentRequest{Name: name})
	if err != nil {
		return "", c.Explain(err)
	}
	return r.GetCgroup(), nil
}

// unified is this process's path below the cgroup2 root: the entry of
// hierarchy 0 (cgroups(7)).
func unified(procSelfCgroup string) string {
	for line := range strings.Lines(procSelfCgroup) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return ""
}

// cannotRun ends as a shell does.
func cannotRun(command string, err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return &exitError{ExitNotFound, fmt.Errorf("%s: %w", command, err)}
	}
	return &exitError{ExitCannotRun, fmt.Errorf("%s: %w", command, err)}
}
