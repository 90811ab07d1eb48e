package ctl

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/cam-os/edge/node"
)

// configFile is where packages install the configuration.
const configFile = "/etc/cam/node.yaml"

// configCheck is the JSON of `camctl check-config`.
type configCheck struct {
	File    string   `json:"file"`
	Good    bool     `json:"good"`
	Problem string   `json:"problem,omitempty"`
	Changed []string `json:"changed"`
}

func (s *Session) checkConfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check-config [FILE]",
		Short: "Check a configuration before the node reads it",
		Long: `Check a configuration before the node reads it, and list what in it differs from
the defaults. FILE is ` + configFile + ` when it is not given. Nothing is changed;
systemctl reload cam-node takes it up.

Exit codes: 0 when the node would take it, 1 when it would not; the message names
the line.`,
		Example: `  camctl check-config
  camctl check-config ./node.yaml && sudo cp node.yaml /etc/cam/ && sudo systemctl reload cam-node`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return s.checkConfig(append(args, configFile)[0])
		},
	}
	s.jsonFlag(c)
	return c
}

func (s *Session) checkConfig(file string) error {
	cfg, problem := node.CheckConfig(file)
	r := configCheck{File: file, Good: problem == nil, Changed: []string{}}
	if problem == nil {
		var err error
		if r.Changed, err = changed(cfg); err != nil {
			return err
		}
	} else {
		r.Problem = problem.Error()
	}
	if s.json {
		if err := s.writeJSON(r); err != nil {
			return err
		}
		if problem != nil {
			return &exitError{code: ExitFailure}
		}
		return nil
	}
	if problem != nil {
		return problem
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s is good", file)
	switch len(r.Changed) {
	case 0:
		b.WriteString("; it says what the defaults are\n")
	default:
		b.WriteString("; not as by default:\n")
		for _, c := range r.Changed {
			fmt.Fprintf(&b, "  %s\n", c)
		}
	}
	_, err := io.WriteString(s.Stdout, b.String())
	return err
}

// changed lists the keys that differ from the defaults, as "key: value".
func changed(cfg node.Config) ([]string, error) {
	now, errNow := flatten(cfg)
	before, errBefore := flatten(node.DefaultConfig())
	if err := errors.Join(errNow, errBefore); err != nil {
		return nil, err
	}
	out := []string{}
	for i := range now {
		if now[i] != before[i] {
			out = append(out, now[i])
		}
	}
	return out, nil
}

// flatten writes every key with its value on a line of its own, in the order of
// the type: the same lines for every configuration.
func flatten(cfg node.Config) ([]string, error) {
	var doc yaml.Node
	if err := doc.Encode(cfg); err != nil {
		return nil, err
	}
	var lines []string
	var walk func(prefix string, n *yaml.Node) error
	walk = func(prefix string, n *yaml.Node) error {
		if n.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(n.Content); i += 2 {
				if err := walk(strings.TrimPrefix(prefix+"."+n.Content[i].Value, "."), n.Content[i+1]); err != nil {
					return err
				}
			}
			return nil
		}
		n.Style = yaml.FlowStyle
		value, err := yaml.Marshal(n)
		if err != nil {
			return err
		}
		lines = append(lines, prefix+": "+strings.Join(strings.Fields(string(value)), " "))
		return nil
	}
	return lines, walk("", &doc)
}
