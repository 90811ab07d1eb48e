package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/node/container"
	"github.com/cam-os/edge/node/ledger"
)

const (
	// walkEvery is how often the tree is walked though it looks as before.
	walkEvery = 10 * time.Second
	// settle is for how many ticks it is walked after something has moved: a
	// runtime makes a container's cgroup in several steps.
	settle = 3
	// cgroupsASecond is what walks may look at, in the mean.
	cgroupsASecond = 4096
	// mostMembers bounds the cgroups of all patterns; each costs so many
	// descriptors, and some are for everything else.
	mostMembers          = 4096
	descriptorsPerMember = 16
	descriptorsElsewhere = 256
)

// discovery is what the walks found for the agents with a pattern.
type discovery struct {
	patterns []*entry          // in the configuration's order
	fixed    map[string]string // agents by the one cgroup that is theirs
	tree     tree
	names    *container.Names

	walked  time.Time
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
	// node busy: a second for each of so many cgroups.
	if time.Since(r.walked) < time.Duration(r.tree.visited/cgroupsASecond)*time.Second {
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
	most := room()
	taken, changed, full := make(map[string]*entry), make(map[*entry]bool), false
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
			if len(taken) >= most {
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
				changed[e] = true
			}
		}
	}
	for p, e := range taken {
		if e.members[p] == nil {
			e.join(p)
			changed[e] = true
		}
	}
	if full {
		errs = append(errs, fmt.Errorf("the patterns of agents.known match more than %d cgroups: the rest stays in %s; match fewer, or allow more open files (LimitNOFILE= in the unit)", most, ledger.System))
	}
	for e := range changed {
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

// room is how many cgroups the limit of open files has room for.
func room() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > mostMembers*descriptorsPerMember+descriptorsElsewhere {
		return mostMembers
	}
	return max(int(limit.Cur)-descriptorsElsewhere, 0) / descriptorsPerMember // #nosec G115 -- bounded above
}
