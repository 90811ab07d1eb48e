// Package agent knows which cgroups are agents.
//
// An agent is a cgroup: a unit or cgroup that the configuration names, or a
// scope that `camctl run` had made under the node's slice. Where the
// configuration has a pattern (for paths, or for the names of containers), an
// agent is all cgroups that match it at a time. Everything below an agent's
// cgroup belongs to the agent; the innermost agent wins. The registry survives a
// restart of the node because the kernel does: scopes are found again by their
// names, and containers by theirs.
package agent

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/cam-os/edge/node/ledger"
)

// Errors that callers tell apart.
var (
	ErrInvalidName = errors.New("invalid agent name")
	ErrNameTaken   = errors.New("agent name is taken")
	ErrTooMany     = errors.New("too many agents")
	// ErrUnsupported: this machine or user cannot make cgroups.
	ErrUnsupported = errors.New("cannot make a cgroup for an agent")
)

// Config of the registry.
type Config struct {
	// Slice holds the scopes of agents that the node starts.
	Slice string `yaml:"slice"`
	// Max bounds the agents that run at once.
	Max int `yaml:"max"`
	// MaxAccounts bounds running and ended agents; the account of the agent
	// that ended longest ago is folded into "retired" when it is exceeded.
	MaxAccounts int `yaml:"max_accounts"`
	// Known are agents that somebody else starts.
	Known []Spec `yaml:"known"`
	// Root is where the files of container runtimes are below; empty: "/".
	Root string `yaml:"-"`
}

// DefaultConfig is what an empty configuration means.
func DefaultConfig() Config {
	return Config{Slice: "cam.slice", Max: 256, MaxAccounts: 512}
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ValidateName says whether an agent may be called so.
func ValidateName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("%w %q: use 1 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit", ErrInvalidName, name)
	}
	switch name {
	case ledger.System, ledger.Idle, ledger.Unattributed, ledger.Retired:
		return fmt.Errorf("%w %q: that is an account of the node itself", ErrInvalidName, name)
	}
	return nil
}

// mostAccounts bounds what a series or a scrape may list.
const mostAccounts = 1 << 14

// Validate checks everything that can be checked without the machine.
func (c Config) Validate() error {
	if !strings.HasSuffix(c.Slice, ".slice") || strings.ContainsAny(c.Slice, "/ \n") || len(c.Slice) > 200 {
		return fmt.Errorf("agents.slice %q: want the name of a systemd slice such as cam.slice", c.Slice)
	}
	if c.Max < 1 || c.Max > 4096 {
		return fmt.Errorf("agents.max %d: want 1 to 4096", c.Max)
	}
	if c.MaxAccounts < c.Max || c.MaxAccounts > mostAccounts {
		return fmt.Errorf("agents.max_accounts %d: want at least agents.max (%d) and at most %d", c.MaxAccounts, c.Max, mostAccounts)
	}
	if len(c.Known) > c.Max {
		return fmt.Errorf("agents.known lists %d agents, agents.max allows %d", len(c.Known), c.Max)
	}
	targets := make(map[target]string)
	var names []string
	for i, s := range c.Known {
		if err := ValidateName(s.Name); err != nil {
			return fmt.Errorf("agents.known[%d]: %w", i, err)
		}
		if slices.Contains(names, s.Name) {
			return fmt.Errorf("agents.known[%d]: %q is listed twice", i, s.Name)
		}
		names = append(names, s.Name)
		t, err := s.target()
		if err != nil {
			return fmt.Errorf("agents.known[%d] (%s): %w", i, s.Name, err)
		}
		if name, ok := agentOfScope(path.Base(t.cgroup)); ok && path.Dir(t.cgroup) == "/"+c.Slice {
			return fmt.Errorf("agents.known[%d] (%s): %s is where `camctl run --name %s` puts its agent; leave it out, it is found", i, s.Name, t, name)
		}
		if other, ok := targets[t]; ok {
			what := "cgroup "
			if t.isPattern() {
				what = ""
			}
			return fmt.Errorf("agents.known[%d]: %s and %s name the same %s%s", i, other, s.Name, what, t)
		}
		targets[t] = s.Name
	}
	return nil
}

const scopePrefix, scopeSuffix = "cam-", ".scope"

func scopeName(agent string) string { return scopePrefix + agent + scopeSuffix }

func agentOfScope(base string) (string, bool) {
	name, ok := strings.CutPrefix(base, scopePrefix)
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(name, scopeSuffix)
	return name, ok && ValidateName(name) == nil
}
