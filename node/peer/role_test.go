package peer

import (
	"os"
	"strings"
	"testing"
)

func TestRoles(t *testing.T) {
	agents := map[string]string{"/cam.slice/a": "a", "/cam.slice/a/inner": "inner", "/system.slice/b.service": "b", "/": "everything"}
	agentOf := func(p string) (string, bool) { n, ok := agents[p]; return n, ok }
	admins, readers := Group{Name: "cam-admin", ID: 900, Exists: true}, Group{Name: "cam", ID: 901, Exists: true}
	no := Group{Name: "cam"} // its id 0 is not group root's
	rules := Rules{Self: 77, Admins: admins, Readers: readers}
	absent := Rules{Self: 77, Admins: no, Readers: no}
	for _, c := range []struct {
		name  string
		rules Rules
		peer  Peer
		role  Role
		agent string
	}{
		{"root", rules, Peer{Cgroup: "/user.slice"}, Administrator, ""},
		{"root in the root cgroup", rules, Peer{Cgroup: "/"}, Administrator, ""},
		{"root in an agent", rules, Peer{Cgroup: "/cam.slice/a"}, Agent, "a"},
		{"root below an agent", rules, Peer{Cgroup: "/cam.slice/a/x/y"}, Agent, "a"},
		{"nested agents", rules, Peer{Cgroup: "/cam.slice/a/inner/x"}, Agent, "inner"},
		{"a name that begins alike", rules, Peer{Cgroup: "/cam.slice/ab"}, Administrator, ""},
		{"a sibling's child", rules, Peer{Cgroup: "/cam.slice/ab/a", UID: 5}, Stranger, ""},
		{"the same name elsewhere", rules, Peer{Cgroup: "/x/cam.slice/a", UID: 5}, Stranger, ""},
		{"above an agent", rules, Peer{Cgroup: "/cam.slice", UID: 5}, Stranger, ""},
		{"administrator in an agent", rules, Peer{Cgroup: "/system.slice/b.service", UID: 5, Groups: []uint32{900}}, Agent, "b"},
		{"the node's uid in an agent", rules, Peer{Cgroup: "/system.slice/b.service", UID: 77}, Agent, "b"},
		{"the node's uid", rules, Peer{Cgroup: "/x", UID: 77}, Administrator, ""},
		{"cam-admin", rules, Peer{Cgroup: "/x", UID: 5, Groups: []uint32{901, 900}}, Administrator, ""},
		{"cam-admin as main group", rules, Peer{Cgroup: "/x", UID: 5, GID: 900}, Administrator, ""},
		{"cam", rules, Peer{Cgroup: "/x", UID: 5, Groups: []uint32{3, 901}}, Reader, ""},
		{"cam as main group", rules, Peer{Cgroup: "/x", UID: 5, GID: 901}, Reader, ""},
		{"nobody", rules, Peer{Cgroup: "/x", UID: 5, GID: 5, Groups: []uint32{1, 2}}, Stranger, ""},
		{"groups that do not exist", absent, Peer{Cgroup: "/x", UID: 5, GID: 0, Groups: []uint32{0}}, Stranger, ""},
		{"root without groups", absent, Peer{Cgroup: "/x"}, Administrator, ""},
		{"another user namespace", Rules{Self: overflow, Admins: no, Readers: no}, Peer{Cgroup: "/x", UID: overflow}, Stranger, ""},
		{"no cgroup", rules, Peer{}, Stranger, ""},
		{"a relative cgroup", rules, Peer{Cgroup: "cam.slice/a"}, Stranger, ""},
	} {
		got, err := c.rules.Caller(c.peer, agentOf)
		if got.Role != c.role || got.Agent != c.agent || (err == nil) == (c.role == Stranger) {
			t.Errorf("%s: %v %q, %v; want %v %q", c.name, got.Role, got.Agent, err, c.role, c.agent)
		}
	}
	_, err := rules.Caller(Peer{Cgroup: "/", UID: 5}, agentOf)
	for _, want := range []string{"uid 5", "usermod -aG cam USER", "usermod -aG cam-admin USER"} {
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "groupadd") {
			t.Errorf("%q should say %q", err, want)
		}
	}
	if _, err := absent.Caller(Peer{Cgroup: "/", UID: 5}, agentOf); !strings.Contains(err.Error(), "groupadd --system cam && usermod -aG cam USER") {
		t.Error(err)
	}
	for r, want := range map[Role]string{Stranger: "stranger", Agent: "agent", Reader: "reader", Administrator: "administrator"} {
		if r.String() != want {
			t.Errorf("%v, want %s", r, want)
		}
	}
}

func TestLookupGroup(t *testing.T) {
	if g, err := LookupGroup("no-such-group-here"); g.Exists || err != nil || g.Name != "no-such-group-here" {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := os.Stat("/etc/group"); err != nil {
		t.Skip(err)
	}
	if g, err := LookupGroup("root"); !g.Exists || err != nil || g.ID != 0 {
		t.Errorf("%+v, %v", g, err)
	}
}
