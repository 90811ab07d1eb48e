package peer

import (
	"errors"
	"fmt"
	"os/user"
	"path"
	"strconv"
)

// Role is what a caller may do.
type Role uint8

const (
	// Stranger may do nothing.
	Stranger Role = iota
	// Agent sees itself, and others coarsely.
	Agent
	// Reader sees everything and changes nothing.
	Reader
	// Administrator may do everything.
	Administrator
)

func (r Role) String() string {
	switch r {
	case Agent:
		return "agent"
	case Reader:
		return "reader"
	case Administrator:
		return "administrator"
	}
	return "stranger"
}

// Group is a group of people. One that does not exist on the machine has no
// members.
type Group struct {
	Name   string
	ID     uint32
	Exists bool
}

// LookupGroup finds a group by its name, in /etc/group (a static binary asks no
// other name service).
func LookupGroup(name string) (Group, error) {
	g, err := user.LookupGroup(name)
	var unknown user.UnknownGroupError
	if errors.As(err, &unknown) {
		return Group{Name: name}, nil
	}
	if err != nil {
		return Group{Name: name}, fmt.Errorf("group %s: %w", name, err)
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return Group{Name: name}, fmt.Errorf("group %s: id %q: %w", name, g.Gid, err)
	}
	return Group{Name: name, ID: uint32(id), Exists: true}, nil
}

// Rules say who has which role.
type Rules struct {
	// Self is the uid that the node runs as.
	Self uint32
	// Admins and Readers are cam-admin and cam.
	Admins, Readers Group
}

// Caller is a peer and what it may do.
type Caller struct {
	Peer
	Role Role
	// Agent is the name of the agent that the caller is; only with Role Agent.
	Agent string
}

// Caller decides. agentOf names the agent whose cgroup is exactly the given
// path (it may also know of cgroups below). The cgroup beats the uid: a peer in
// or below an agent's cgroup is that agent, root too; where agents are nested,
// it is the innermost. A Stranger's error says how to become more.
func (r Rules) Caller(p Peer, agentOf func(cgroup string) (string, bool)) (Caller, error) {
	// Component by component: /cam.slice/ab is not below /cam.slice/a. The root
	// cgroup is never an agent.
	for dir := p.Cgroup; dir != "/"; dir = path.Dir(dir) {
		if dir == "" || dir == "." {
			return Caller{Peer: p}, fmt.Errorf("cgroup %q is not an absolute path", p.Cgroup)
		}
		if name, ok := agentOf(dir); ok {
			return Caller{Peer: p, Role: Agent, Agent: name}, nil
		}
	}
	switch {
	case p.UID == 0, p.UID == r.Self && p.UID != overflow, r.Admins.Exists && p.In(r.Admins.ID):
		return Caller{Peer: p, Role: Administrator}, nil
	case r.Readers.Exists && p.In(r.Readers.ID):
		return Caller{Peer: p, Role: Reader}, nil
	}
	return Caller{Peer: p}, fmt.Errorf("uid %d may not use this node: %s (%s to administer), then log in again",
		p.UID, r.Readers.join(), r.Admins.join())
}

// overflow is the uid that the kernel shows for those of other user namespaces
// (kernel.overflowuid): not one person, even where the node itself runs as it.
const overflow = 65534

func (g Group) join() string {
	join := fmt.Sprintf("usermod -aG %s USER", g.Name)
	if !g.Exists {
		join = fmt.Sprintf("groupadd --system %s && %s", g.Name, join)
	}
	return join
}
