package ctl

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cam-os/edge/cmd/cam-node/internal/text"
	"github.com/cam-os/edge/store"
)

func (s *Session) storeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "store",
		Short: "Look after the node's database",
		Long:  "Look after the node's database.",
	}
	c.AddCommand(s.storeCheckCommand())
	return c
}

// storeCheck is the JSON of `camctl store check`.
type storeCheck struct {
	Path       string    `json:"path"`
	Store      string    `json:"store"`
	Schema     uint32    `json:"schema"`
	Created    time.Time `json:"created"`
	Bytes      int64     `json:"bytes"`
	FreeBytes  int64     `json:"free_bytes"`
	Minutes    uint64    `json:"minutes"`
	Hours      uint64    `json:"hours"`
	Boots      int       `json:"boots"`
	Accounts   int       `json:"accounts"`
	Zones      int       `json:"zones"`
	Generation uint64    `json:"generation"`
	Problems   []string  `json:"problems"`
}

func (s *Session) storeCheckCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "check [PATH]",
		Short: "Examine the database of a node that is not running",
		Long: `Examine the database of a node that is not running: every page and every record.
PATH is the file or its directory. Nothing is changed.

Exit codes: 0 when all is well, 1 when something is wrong or it could not be
examined.`,
		Example: `  camctl store check /var/lib/cam
  camctl store check --state-dir ./var`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path := dir
			switch {
			case len(args) == 1 && c.Flags().Changed("state-dir"):
				return &UsageError{errors.New("give the path or --state-dir, not both")}
			case len(args) == 1:
				path = args[0]
			case path == "":
				return &UsageError{errors.New("name the database: camctl store check PATH")}
			}
			return s.storeCheck(path)
		},
	}
	s.jsonFlag(c)
	c.Flags().StringVar(&dir, "state-dir", "", "the node's state directory")
	_ = c.MarkFlagDirname("state-dir")
	return c
}

func (s *Session) storeCheck(path string) error {
	r, err := store.Check(path)
	var locked *store.LockedError
	if errors.As(err, &locked) {
		who := "a node"
		if locked.PID != 0 {
			who = fmt.Sprintf("process %d (%s)", locked.PID, text.Clean(locked.Name))
		}
		return fmt.Errorf("%s is in use by %s: stop the node first, or ask it with `camctl doctor`", locked.Path, who)
	}
	if err != nil {
		return err
	}
	if s.json {
		err = s.writeJSON(storeCheck{
			Path: r.Path, Store: r.Store, Schema: r.Schema, Created: r.Created, Bytes: r.Bytes, FreeBytes: r.FreeBytes,
			Minutes: r.Minutes, Hours: r.Hours, Boots: r.Boots, Accounts: r.Accounts, Zones: r.Zones,
			Generation: r.Generation, Problems: append([]string{}, r.Problems...),
		})
	} else {
		err = s.writeStoreCheck(r)
	}
	if err == nil && len(r.Problems) > 0 {
		err = &exitError{ExitFailure, fmt.Errorf("%s is damaged: the node sets it aside and goes on with a new one", r.Path)}
	}
	return err
}

func (s *Session) writeStoreCheck(r store.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", text.Clean(r.Path))
	fmt.Fprintf(&b, "store     %s, schema %d, created %s\n", text.Clean(r.Store), r.Schema, r.Created.Local().Format(time.DateTime))
	fmt.Fprintf(&b, "size      %s, %s of it free\n", text.Bytes(uint64(max(0, r.Bytes))), text.Bytes(uint64(max(0, r.FreeBytes)))) // #nosec G115 -- not negative
	fmt.Fprintf(&b, "holds     %d accounts, %d zones, %d minutes, %d hours, from %d boots; generation %d\n", r.Accounts, r.Zones, r.Minutes, r.Hours, r.Boots, r.Generation)
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "problem   %s\n", text.Clean(p))
	}
	if len(r.Problems) == 0 {
		b.WriteString("all is well\n")
	}
	_, err := io.WriteString(s.Stdout, b.String())
	return err
}
