package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/node/container"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// Launcher makes a cgroup for an agent and moves a process into it.
type Launcher interface {
	// Slice is the path of the cgroup that all agents are made in.
	Slice() string
	// Start returns the path of the new cgroup below the cgroup2 root.
	Start(ctx context.Context, agent string, pid int) (string, error)
	// Reap removes a cgroup that Start made, once no process is left in it. It
	// is a no-op where the service manager does that.
	Reap(path string) error
}

// Registry says which agent a cgroup belongs to. It is safe for concurrent
// use.
type Registry struct {
	cfg      Config
	cgroups  *cgroup.Hierarchy
	launcher Launcher
	slice    string

	mu      sync.RWMutex
	entries map[string]*entry
	byID    map[cgroup.ID]owned
	byPath  map[string]string
	tick    uint64
	links   uint64 // of the slice, when it was listed
	clash   error  // what was found then
	discovery
}

// owned is an id's agent. It is kept for some ticks after the cgroup is gone:
// what was used last is read only after that.
type owned struct {
	agent string
	seen  uint64
}

// remembered is for how many ticks the id of a cgroup that is gone is known.
const remembered = 16

// Open makes a registry. Agents of earlier runs (by name) are listed as ended
// until their cgroup is found again; those of the configuration that were never
// seen are absent.
func Open(cfg Config, h *cgroup.Hierarchy, l Launcher, earlier []observe.Agent) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Registry{
		cfg: cfg, cgroups: h, launcher: l, slice: "/" + cfg.Slice,
		entries: make(map[string]*entry), byID: make(map[cgroup.ID]owned), byPath: make(map[string]string),
	}
	if l != nil {
		r.slice = l.Slice()
	}
	r.tree.cgroups, r.names = h, container.New(cmp.Or(cfg.Root, "/"))
	for _, a := range earlier {
		if ValidateName(a.Name) != nil {
			continue
		}
		a.State = observe.Ended
		r.entries[a.Name] = &entry{Agent: a}
	}
	for _, s := range cfg.Known {
		if err := r.know(s); err != nil {
			return nil, err
		}
	}
	r.arrange()
	// What cannot be listed now is said at each Refresh, and is no reason not
	// to start.
	_ = r.Refresh()
	return r, nil
}

// Refresh looks at the kernel's cgroups: finds agents that appeared, marks
// those that ended, and reaps the scopes that the node made. Call it after
// each snapshot, so that what a scope used is read before it goes.
func (r *Registry) Refresh() error {
	if r.cgroups == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tick++
	r.names.Turn()
	err := r.adopt()
	lost := false
	for _, e := range r.entries {
		lost = r.look(e) || lost
	}
	err = errors.Join(err, r.discover(lost))
	clear(r.byPath)
	for _, e := range r.entries {
		r.index(e)
	}
	for id, o := range r.byID {
		if r.tick-o.seen > remembered {
			delete(r.byID, id)
		}
	}
	return err
}

// adoptEvery is how often the slice is listed though it has as many cgroups as
// before.
const adoptEvery = 10

// adopt finds scopes that this registry did not start: those of an earlier run.
func (r *Registry) adopt() error {
	links, err := r.cgroups.Links(r.slice)
	if errors.Is(err, fs.ErrNotExist) {
		r.links, r.clash = 0, nil
		return nil
	}
	if err == nil && links == r.links && r.tick%adoptEvery != 0 {
		return r.clash
	}
	var clash []error
	r.links = links
	scopes, err := r.cgroups.Children(r.slice)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot list agents below %s: %w", r.slice, err)
	}
	for _, p := range scopes {
		name, ok := agentOfScope(path.Base(p))
		if !ok {
			continue
		}
		e := r.entries[name]
		if e == nil {
			e = &entry{Agent: observe.Agent{Name: name}}
			r.entries[name] = e
		}
		if !e.known {
			e.Cgroup = p
		} else if e.target.cgroup != p {
			clash = append(clash, fmt.Errorf("%s is an agent's scope by its name, but the configuration gives the name %s to %s: what runs in it is charged to %s; rename one of them",
				p, name, e.target, ledger.System))
		}
	}
	r.clash = errors.Join(clash...)
	return r.clash
}

// Start makes a cgroup for a new agent and moves pid into it.
func (r *Registry) Start(ctx context.Context, name string, pid int) (string, error) {
	if err := ValidateName(name); err != nil {
		return "", err
	}
	if r.launcher == nil || r.cgroups == nil {
		return "", fmt.Errorf("%w: run the node as root, or with a delegated cgroup (systemd-run --user --scope -p Delegate=yes)", ErrUnsupported)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	running := 0
	for _, e := range r.entries {
		if e.State != observe.Ended && e.State != observe.Absent {
			running++
		}
	}
	if e := r.entries[name]; e != nil {
		if e.known {
			return "", fmt.Errorf("%w: %s is the agent in %s by the node's configuration", ErrNameTaken, name, e.target)
		}
		if populated, err := r.cgroups.Populated(e.Cgroup); e.Cgroup != "" && err == nil && populated {
			return "", fmt.Errorf("%w: %s is running in %s", ErrNameTaken, name, e.Cgroup)
		}
	}
	if running >= r.cfg.Max {
		return "", fmt.Errorf("%w: %d are running and agents.max is %d", ErrTooMany, running, r.cfg.Max)
	}
	p, err := r.launcher.Start(ctx, name, pid)
	if err != nil {
		return "", err
	}
	e := r.entries[name]
	if e == nil {
		e = &entry{Agent: observe.Agent{Name: name}}
		r.entries[name] = e
	}
	e.Cgroup = p
	r.look(e)
	r.index(e)
	return p, nil
}

// Close lets all cgroups go. Agents go on.
func (r *Registry) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		for _, m := range e.members {
			m.unfollow()
		}
	}
}

// Clash says which scopes have a name that the configuration gives to another
// cgroup; nil if none.
func (r *Registry) Clash() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.clash
}

// Owner returns the innermost agent that a cgroup belongs to, or "".
func (r *Registry) Owner(id cgroup.ID, parents map[cgroup.ID]cgroup.ID) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	// The kernel bounds the depth; the bound here is against a damaged map.
	for range 512 {
		if o, ok := r.byID[id]; ok {
			return o.agent
		}
		parent, ok := parents[id]
		if !ok || parent == id {
			return ""
		}
		id = parent
	}
	return ""
}

// AgentOf returns the innermost agent that a cgroup path belongs to.
func (r *Registry) AgentOf(p string) (string, bool) {
	if !strings.HasPrefix(p, "/") {
		return "", false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for p = path.Clean(p); p != "/"; p = path.Dir(p) {
		if name, ok := r.byPath[p]; ok {
			return name, true
		}
		// One that appeared since the last Refresh is an agent already.
		if name := r.claimant(p); name != "" {
			return name, true
		}
	}
	return "", false
}

// Agents lists all agents, ended ones too, by name.
func (r *Registry) Agents() []observe.Agent {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]observe.Agent, 0, len(r.entries))
	for _, e := range r.entries {
		out = append(out, e.Agent)
	}
	slices.SortFunc(out, func(a, b observe.Agent) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// scope says whether a cgroup is where and named as the node makes scopes.
func (r *Registry) scope(p string) (agent string, ok bool) {
	if path.Dir(p) != r.slice {
		return "", false
	}
	return agentOfScope(path.Base(p))
}

// Evict forgets the agents that ended longest ago until no more than
// MaxAccounts are left, and returns their names.
func (r *Registry) Evict() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	excess := len(r.entries) - r.cfg.MaxAccounts
	if excess <= 0 {
		return nil
	}
	var ended []*entry
	for _, e := range r.entries {
		if e.State == observe.Ended && !e.known {
			ended = append(ended, e)
		}
	}
	slices.SortFunc(ended, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.seen, b.seen), strings.Compare(a.Name, b.Name))
	})
	var out []string
	for _, e := range ended[:min(excess, len(ended))] {
		delete(r.entries, e.Name)
		out = append(out, e.Name)
	}
	return out
}
