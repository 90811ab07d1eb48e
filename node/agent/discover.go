package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/cam-os/edge/node/container"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

const (
	// walkEvery is how often the tree is walked though it looks as before.
	walkEvery = 10 * time.Second
	// settle is for how many ticks it is walked after something has moved: a
	// runtime makes a container's cgroup in several steps.
	settle = 3
	// costly is how long a walk may take without a pause of rarely as long.
	costly = 50 * time.Millisecond
	rarely = 50
	// mostMembers bounds the cgroups of all patterns: each costs a descriptor.
	mostMembers = 4096
)

// discovery is what the walks found for the agents with a pattern.
type discovery struct {
	patterns []*entry          // in the configuration's order
	fixed    map[string]string // agents by the one cgroup that is theirs
	tree     tree
	names    *container.Names

	walked  time.Time
	cost    time.Duration       // of the last walk
	settled uint64              // the tick until which it goes on
	globbed map[*entry][]string // what matches a pattern for paths
	refs    []container.Ref     // all containers that a pattern may mean
	pending bool                // some of them have no name yet
	unnamed map[target]int      // how many, for those who ask for such
	uids    map[string]uint32   // of the users in patterns
}

// arrange takes up the configuration's order after Open and Reload.
func (r *Registry) arrange() {
	r.patterns, r.fixed = nil, make(map[string]string)
	for _, s := range r.cfg.Known {
		e := r.entries[s.Name]
		if e.target.isPattern() {
			r.patterns = append(r.patterns, e)
		} else {
			r.fixed[e.target.cgroup] = e.Name
		}
	}
	r.walked = time.Time{}
}

// discover finds the cgroups of agents that have a pattern. lost says that one
// is gone.
func (r *Registry) discover(lost bool) error {
	if len(r.patterns) == 0 {
		return nil
	}
	if lost || r.tree.moved() {
		r.settled = r.tick + settle
	}
	// A tree that is large, and that somebody keeps changing, may not keep the
	// node busy.
	if r.cost > costly && time.Since(r.walked) < rarely*r.cost {
		return r.tree.err
	}
	due := r.tick < r.settled || r.tick%adoptEvery == 0 || time.Since(r.walked) >= walkEvery
	if due {
		r.walk()
	}
	if !due && !r.pending {
		return r.tree.err
	}
	return errors.Join(r.tree.err, r.claim())
}

func (r *Registry) walk() {
	r.walked = time.Now()
	defer func() { r.cost = time.Since(r.walked) }()
	r.tree.begin()
	r.globbed, r.refs = make(map[*entry][]string), nil
	named := false
	for _, e := range r.patterns {
		if e.target.glob != "" {
			r.globbed[e] = r.tree.glob(e.target.glob)
		} else {
			named = true
		}
	}
	if named {
		r.refs = r.tree.containers()
	}
}

// claim gives each cgroup that was found to the first that it matches. One that
// the configuration names exactly, or that is a scope of the node's, is not to
// be had.
func (r *Registry) claim() error {
	var errs []error
	r.resolveUsers(&errs)
	names := r.resolve(&errs)
	taken, full := make(map[string]*entry), false
	for _, e := range r.patterns {
		found := r.globbed[e]
		for i, ref := range r.refs {
			if r.means(e.target, ref, names[i]) {
				found = append(found, ref.Cgroup)
			}
		}
		for _, p := range found {
			if r.reserved(p) || taken[p] != nil {
				continue
			}
			if len(taken) == mostMembers {
				full = true
				break
			}
			taken[p] = e
		}
	}
	for _, e := range r.patterns {
		for p := range e.members {
			if by := taken[p]; by != nil && by != e || r.reserved(p) {
				e.leave(p)
			}
		}
	}
	for p, e := range taken {
		e.join(p)
	}
	if full {
		errs = append(errs, fmt.Errorf("the patterns of agents.known match more than %d cgroups: the rest stays in %s", mostMembers, ledger.System))
	}
	for _, e := range r.patterns {
		r.look(e)
	}
	return errors.Join(errs...)
}

func (r *Registry) reserved(p string) bool {
	_, scope := r.scope(p)
	return scope || r.fixed[p] != ""
}

func (r *Registry) resolveUsers(errs *[]error) {
	r.uids = make(map[string]uint32)
	for _, e := range r.patterns {
		u := e.target.user
		if _, ok := r.uids[u]; ok || u == "" {
			continue
		}
		uid, err := r.names.UID(u)
		if err != nil {
			*errs = append(*errs, fmt.Errorf("agents.known (%s): %w", e.Name, err))
			continue
		}
		r.uids[u] = uid
	}
}

// resolve names the containers that some pattern may mean, in the order of refs.
func (r *Registry) resolve(errs *[]error) []container.Name {
	names := make([]container.Name, len(r.refs))
	r.pending, r.unnamed = false, make(map[target]int)
	failures := 0
	for i, ref := range r.refs {
		asking := slices.ContainsFunc(r.patterns, func(e *entry) bool { return r.concerns(e.target, ref) })
		if !asking {
			continue
		}
		name, err := r.names.Of(ref)
		if err == nil {
			names[i] = name
			continue
		}
		r.pending = true
		for _, e := range r.patterns {
			if r.concerns(e.target, ref) {
				r.unnamed[e.target]++
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			if failures++; failures <= 3 {
				*errs = append(*errs, fmt.Errorf("cannot name the container in %s: %w", ref.Cgroup, err))
			}
		}
	}
	return names
}

// concerns says whether a target is about containers such as this one.
func (r *Registry) concerns(t target, ref container.Ref) bool {
	switch {
	case t.pod != "":
		return ref.Pod != "" && ref.Owner == 0
	case t.container == "" || ref.Pod != "":
		return false
	case t.user == "":
		return ref.Owner == 0
	}
	uid, ok := r.uids[t.user]
	return ok && uid == ref.Owner
}

// means says whether a container is the target's by its name.
func (r *Registry) means(t target, ref container.Ref, name container.Name) bool {
	if name.Container == "" || !r.concerns(t, ref) {
		return false
	}
	pattern := t.container
	if t.pod != "" {
		pattern = t.pod
	}
	ok, _ := path.Match(pattern, name.String())
	return ok
}

// claimant is the agent whose cgroup p is by the configuration, also where no
// Refresh has seen it yet. It reads the files of a container that is new.
func (r *Registry) claimant(p string) string {
	if name, ok := r.scope(p); ok {
		return name
	}
	if name := r.fixed[p]; name != "" {
		return name
	}
	if len(r.patterns) == 0 {
		return ""
	}
	ref, name := r.containerAt(p)
	for _, e := range r.patterns {
		if ok, _ := path.Match(e.target.glob, p); ok || r.means(e.target, ref, name) {
			return e.Name
		}
	}
	return ""
}

// containerAt names the container whose own cgroup p is, where a pattern may
// mean it; the name is empty otherwise.
func (r *Registry) containerAt(p string) (ref container.Ref, name container.Name) {
	ref, ok := container.Parse(p)
	if !ok || ref.Cgroup != p {
		return ref, name
	}
	_, owner, err := r.tree.stat(path.Dir(p))
	if err != nil {
		return ref, name
	}
	ref.Owner = owner
	if slices.ContainsFunc(r.patterns, func(e *entry) bool { return r.concerns(e.target, ref) }) {
		name, _ = r.names.Of(ref)
	}
	return ref, name
}

// Container returns the name of the container that a cgroup is in, such as
// "camera" or "robots/vision-0/main", whether or not it is an agent; false where
// it is in none or the name is not known. It does not look at the containers of
// users but for those that the configuration names.
func (r *Registry) Container(p string) (string, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	ref, ok := container.Parse(p)
	if !ok || r.cgroups == nil {
		return "", false
	}
	_, owner, err := r.tree.stat(path.Dir(ref.Cgroup))
	if err != nil {
		return "", false
	}
	ref.Owner = owner
	if owner != 0 && !slices.ContainsFunc(r.patterns, func(e *entry) bool { return r.concerns(e.target, ref) }) {
		return "", false
	}
	name, err := r.names.Of(ref)
	return name.String(), err == nil
}

// Unseen says, a line each, which agents of the configuration have never been
// seen, and what they would be.
func (r *Registry) Unseen() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []string
	for _, s := range r.cfg.Known {
		e := r.entries[s.Name]
		if e.State != observe.Absent {
			continue
		}
		line := fmt.Sprintf("%s: there is no %s yet", e.Name, e.target)
		if e.target.cgroup != "" {
			line = fmt.Sprintf("%s: there is no cgroup %s yet", e.Name, e.target)
		}
		if n := r.unnamed[e.target]; n > 0 {
			line += fmt.Sprintf("; %d containers have no name that the node can read", n)
		}
		out = append(out, line)
	}
	return out
}
