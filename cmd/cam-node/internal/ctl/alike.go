package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cam-os/edge/cmd/cam-node/internal/client"
	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// orAlike makes of the node's not knowing one of the names an error that says
// which are spelled alike; other errors stay.
func (s *Session) orAlike(ctx context.Context, err error, names []string) error {
	var unknown *client.NotFoundError
	if !errors.As(err, &unknown) {
		return err
	}
	o, e := s.observe(ctx, nil, false)
	if e != nil {
		return err
	}
	if e := allThere(o, names); e != nil {
		return e
	}
	return err // it has come meanwhile
}

// allThere makes a mistyped name an error instead of an empty answer.
func allThere(o report.Observation, names []string) error {
	for _, name := range names {
		if !o.Has(name) {
			return noAgent(o, name)
		}
	}
	return nil
}

func noAgent(o report.Observation, name string) error {
	var near []string
	for _, a := range o.Accounts {
		if a.Kind == report.Agent && alike(a.Name, name) {
			near = append(near, text.Clean(a.Name))
		}
	}
	slices.Sort(near)
	if len(near) == 0 {
		return fmt.Errorf("there is no agent %q: `camctl agents` lists them", text.Clean(name))
	}
	return fmt.Errorf("there is no agent %q: did you mean %s? `camctl agents` lists all", text.Clean(name), strings.Join(near[:min(3, len(near))], ", "))
}

// alike: one begins with or contains the other, or they are few slips apart.
func alike(a, b string) bool {
	if len(b) >= 3 && strings.Contains(a, b) || len(a) >= 3 && strings.Contains(b, a) {
		return true
	}
	return distance(a, b) <= 1+min(1, len(b)/5)
}

// distance is how many letters are changed, added or left out (Levenshtein).
func distance(a, b string) int {
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			next[j+1] = min(last[j]+change, last[j+1]+1, next[j]+1)
		}
		last = next
	}
	return last[len(b)]
}
