package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cam-os/edge/cmd/cam-node/internal/client"
	"github.com/cam-os/edge/cmd/cam-node/internal/survey"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
	camv1 "github.com/cam-os/edge/node/api/cam/v1"
	"github.com/cam-os/edge/systemd"
)

// diagnosis is the JSON of `camctl doctor`.
type diagnosis struct {
	Reachable bool             `json:"reachable"` // it answered, if only to refuse
	Refused   bool             `json:"refused,omitempty"`
	Socket    string           `json:"socket"`
	Version   string           `json:"version,omitempty"`
	Started   *time.Time       `json:"started,omitempty"`
	Findings  []survey.Finding `json:"findings"`
}

func (s *Session) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "What works, what is missing, and what to do about it",
		Long: `What works on this node, what is missing, and what to do about it. Without a
running node it reports what can be seen of the machine from here.

Exit codes: 0 when everything works, possibly with less than could be had; 1 when
something failed, or the node refuses you; 3 when no node answers.`,
		Example: `  camctl doctor
  camctl doctor --json | jq '.findings[] | select(.level != "ok")'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := s.diagnose(c.Context())
			if errs := s.writeDiagnosis(d); errs != nil {
				return errs
			}
			return err
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	s.jsonFlag(c)
	return c
}

// diagnose asks the node, and looks around where it cannot. The error is that
// of the node, or says that something failed.
func (s *Session) diagnose(ctx context.Context) (diagnosis, error) {
	c, err := s.open()
	if err != nil {
		return diagnosis{}, err
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, client.Patience)
	defer cancel()
	d := diagnosis{Socket: c.Socket()}
	r, err := c.Operator.Status(ctx, &camv1.StatusRequest{})
	if err != nil {
		err = c.Explain(err)
		m := survey.Machine{Procfs: "/proc", Sysfs: "/sys", Socket: c.Socket(), UID: os.Getuid()}
		var (
			away   *client.UnreachableError
			denied *client.PermissionError
		)
		switch {
		case errors.As(err, &denied) && denied.Said() != "":
			m.Refusal, m.Stranger = denied.Said(), true
			d.Reachable, d.Refused = true, true
		case errors.As(err, &denied), errors.As(err, &away) && away.Message != "":
			m.Refusal = err.Error()
		}
		if !d.Reachable {
			m.Service = complaint(ctx)
		}
		d.Findings = m.Look()
		return d, err
	}
	d.Reachable, d.Version = true, r.GetVersion()
	if t := r.GetStarted(); t != nil {
		started := t.AsTime()
		d.Started = &started
	}
	failed := 0
	for _, f := range r.GetFindings() {
		level := survey.Failed
		switch f.GetLevel() {
		case camv1.FindingLevel_FINDING_LEVEL_OK:
			level = survey.OK
		case camv1.FindingLevel_FINDING_LEVEL_DEGRADED:
			level = survey.Degraded
		default:
			failed++
		}
		d.Findings = append(d.Findings, survey.Finding{Name: f.GetName(), Level: level, Detail: f.GetDetail(), Remedy: f.GetRemedy()})
	}
	if failed > 0 {
		return d, &exitError{ExitFailure, errors.New("something failed: see above")}
	}
	return d, nil
}

// complaint is what the packaged node told systemd when it could not start,
// empty where there is none or it did not.
func complaint(ctx context.Context) string {
	if !systemd.Booted() {
		return ""
	}
	service, err := systemd.FindService(ctx, "cam-node.service")
	if err != nil || service.State != "failed" && service.State != "activating" {
		return ""
	}
	return service.Status
}

func (s *Session) writeDiagnosis(d diagnosis) error {
	if s.json {
		return s.writeJSON(d)
	}
	style := s.style()
	var b strings.Builder
	switch {
	case d.Refused:
		b.WriteString("the node answers, but it does not tell you; what can be seen of the machine from here:\n\n")
	case d.Reachable:
		fmt.Fprintf(&b, "node %s at %s", text.Clean(d.Version), d.Socket)
		if d.Started != nil {
			fmt.Fprintf(&b, ", up %s", text.Duration(time.Since(*d.Started)))
		}
		b.WriteString("\n\n")
	default:
		b.WriteString("no node answers; what can be seen of the machine from here:\n\n")
	}
	width := 0
	for _, f := range d.Findings {
		width = max(width, text.Width(text.Clean(f.Name)))
	}
	count := map[string]int{}
	for _, f := range d.Findings {
		count[f.Level]++
		mark := map[string]string{survey.OK: style.Charset.Marks[0], survey.Degraded: style.Charset.Marks[1], survey.Failed: style.Charset.Marks[2]}[f.Level]
		indent := strings.Repeat(" ", width+14)
		fmt.Fprintf(&b, "%s %-8s  %s  %s\n", mark, f.Level, text.Pad(text.Clean(f.Name), width, false), text.Wrap(text.Clean(f.Detail), style.Width, indent))
		if f.Remedy != "" {
			fmt.Fprintf(&b, "%s%s\n", indent, text.Wrap("-> "+text.Clean(f.Remedy), style.Width, indent))
		}
	}
	fmt.Fprintf(&b, "\n%d ok, %d degraded, %d failed\n", count[survey.OK], count[survey.Degraded], count[survey.Failed])
	_, err := io.WriteString(style.Charset.Writer(s.Stdout), b.String())
	return err
}
