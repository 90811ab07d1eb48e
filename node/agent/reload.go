package agent

import (
	"path"

	"github.com/cam-os/edge/node/observe"
)

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
	cfg.Slice, cfg.Root = r.cfg.Slice, r.cfg.Root
	listed := make(map[string]bool, len(cfg.Known))
	for _, s := range cfg.Known {
		listed[s.Name] = true
	}
	for name, e := range r.entries {
		if e.known && !listed[name] {
			r.disown(e)
			e.known, e.target = false, target{}
		}
	}
	for _, s := range cfg.Known {
		_ = r.know(s) // it is valid
	}
	r.cfg = cfg
	r.arrange()
	return nil
}

// know takes up an agent of the configuration. One that was something else
// before has an account, and no claim on what it was.
func (r *Registry) know(s Spec) error {
	t, err := s.target()
	if err != nil {
		return err
	}
	e := r.entries[s.Name]
	if e == nil {
		e = &entry{Agent: observe.Agent{Name: s.Name, State: observe.Absent}}
		r.entries[s.Name] = e
	}
	if e.Cgroup == "" {
		e.State = observe.Absent
	}
	if was := e.path(); e.target != t && (e.known || was != t.cgroup) {
		r.disown(e)
	}
	e.known, e.target = true, t
	return nil
}

// disown lets go of the cgroups that an agent had: what they use from now on is
// not its own.
func (r *Registry) disown(e *entry) {
	e.release()
	for id, o := range r.byID {
		if o.agent == e.Name {
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
