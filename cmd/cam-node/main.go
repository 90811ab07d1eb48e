// Command cam-node is the node's daemon. Called as camctl it is the command
// line for people: one static binary per device.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cam-os/edge/cmd/cam-node/internal/ctl"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

func main() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// Main runs one command and returns its exit code. args[0] decides which
// program it is.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	name := strings.TrimPrefix(filepath.Base(args[0]), "-")
	session := &ctl.Session{Stdin: stdin, Stdout: stdout, Stderr: stderr, Getenv: os.Getenv, Version: version()}
	var root *cobra.Command
	if name == "camctl" {
		root = newCtlCommand("camctl", session)
	} else {
		name = "cam-node"
		root = newNodeCommand(session)
	}
	root.SetArgs(args[1:])
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.Version = built()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.AddCommand(newVersionCommand())
	root.InitDefaultCompletionCmd(args[1:]...)
	ctl.Finish(root)
	command, err := ctl.Execute(context.Background(), root)
	code := ctl.ExitCode(err)
	if err != nil && code != ctl.ExitOK && err.Error() != "" {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(stderr, "%s: %s\n", name, text.Clean(line))
		}
		if code == ctl.ExitUsage {
			fmt.Fprintf(stderr, "see `%s --help`\n", command.CommandPath())
		}
	}
	return code
}

func newNodeCommand(session *ctl.Session) *cobra.Command {
	root := &cobra.Command{
		Use:   "cam-node",
		Short: "Measures what AI agents really use",
		Long: `The node measures the CPU time, I/O and energy of every agent on this machine,
keeps the accounts, and shows them. People talk to it with camctl, which is this
same program under another name (or cam-node ctl).`,
	}
	root.AddCommand(newRunCommand(), newSimulateCommand(), newCtlCommand("ctl", session), newPagesCommand(session))
	return root
}

func newCtlCommand(use string, session *ctl.Session) *cobra.Command {
	c := &cobra.Command{
		Use:   use,
		Short: "The command line for people",
		Long:  `Run programs as agents, and see what every agent uses: CPU, I/O, watts and joules.`,
		Example: `  camctl run --name agent-b -- sha256sum /dev/zero
  camctl agents
  camctl top
  camctl energy --since 10m
  camctl doctor`,
	}
	session.AddTo(c)
	return c
}

// buildVersion is set by the linker in builds that know better than the module.
var buildVersion string

// version is what this program was built from.
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// built is the version with what it was built by and for.
func built() string {
	return fmt.Sprintf("%s (%s %s/%s)", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func newVersionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Version of this program",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]string{
					"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
				})
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), c.Root().Name(), built())
			return err
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}
