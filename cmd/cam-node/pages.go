package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/cam-os/edge/cmd/cam-node/internal/ctl"
)

// newPagesCommand writes man pages and shell completions of both programs, for
// whoever makes packages. SOURCE_DATE_EPOCH dates the pages.
func newPagesCommand(session *ctl.Session) *cobra.Command {
	return &cobra.Command{
		Use:    "pages DIR",
		Short:  "Write man pages and shell completions",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			node := newNodeCommand(session)
			for _, c := range node.Commands() {
				if c.Name() == "ctl" {
					node.RemoveCommand(c) // the same as camctl, which has its own pages
				}
			}
			return errors.Join(
				writePages(args[0], node, "8", "System Administration"),
				writePages(args[0], newCtlCommand("camctl", session), "1", "User Commands"),
			)
		},
	}
}

func writePages(dir string, root *cobra.Command, section, manual string) error {
	root.AddCommand(newVersionCommand())
	ctl.Finish(root)
	root.DisableAutoGenTag = true
	man, completions := filepath.Join(dir, "man"), filepath.Join(dir, "completions")
	for _, d := range []string{man, completions} {
		if err := os.MkdirAll(d, 0o755); err != nil { // #nosec G301 -- pages are for everybody
			return err
		}
	}
	forRoff(root)
	name := root.Name()
	return errors.Join(
		doc.GenManTreeFromOpts(root, doc.GenManTreeOptions{
			Header:           &doc.GenManHeader{Section: section, Source: "CAM-OS Edge", Manual: manual},
			Path:             man,
			CommandSeparator: "-",
		}),
		root.GenBashCompletionFileV2(filepath.Join(completions, name+".bash"), true),
		root.GenZshCompletionFile(filepath.Join(completions, "_"+name)),
		root.GenFishCompletionFile(filepath.Join(completions, name+".fish"), true),
	)
}

var indented = regexp.MustCompile(`(?m)^  (\S.*)$`)

// forRoff makes of a help text's indented lines what Markdown takes for an
// example, so that they are not filled into a paragraph.
func forRoff(c *cobra.Command) {
	c.Long = indented.ReplaceAllString(c.Long, "    $1")
	c.Long = regexp.MustCompile(`(?m)^(\S.*:)\n    `).ReplaceAllString(c.Long, "$1\n\n    ")
	for _, sub := range c.Commands() {
		forRoff(sub)
	}
}
