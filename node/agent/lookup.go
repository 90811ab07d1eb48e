package agent

import (
	"fmt"
	"path"
	"slices"

	"github.com/cam-os/edge/node/container"
	"github.com/cam-os/edge/node/observe"
)

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
