package agent

import "path"

// Reload takes up other agents that somebody else starts, and other bounds. The
// slice stays what it was. An agent that is not listed any more ends, unless it
// is also a scope of the node's; its account stays. A configuration that is not
// valid changes nothing.
func (r *Registry) Reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg.Slice = r.cfg.Slice
	listed := make(map[string]string, len(cfg.Known))
	for _, s := range cfg.Known {
		listed[s.Name], _ = s.path() // it is valid
	}
	for name, e := range r.entries {
		if e.known && listed[name] != e.Cgroup {
			e.known = false
			r.disown(name)
		}
	}
	for name, p := range listed {
		e := r.entries[name]
		if e == nil {
			e = &entry{}
			e.Name = name
			r.entries[name] = e
		}
		if e.Cgroup != p {
			r.disown(name)
		}
		e.Cgroup, e.known = p, true
	}
	r.cfg = cfg
	return nil
}

// disown lets go of the cgroups that an agent had: what they use from now on is
// not its own.
func (r *Registry) disown(agent string) {
	for id, o := range r.byID {
		if o.agent == agent {
			delete(r.byID, id)
		}
	}
}

// stands says whether the entry's cgroup makes an agent of it: the configuration
// lists it, or it is where and named as the node makes scopes. Of one that the
// configuration listed once, only the account is left.
func (r *Registry) stands(e *entry) bool {
	return e.known || path.Dir(e.Cgroup) == r.slice && path.Base(e.Cgroup) == scopeName(e.Name)
}
