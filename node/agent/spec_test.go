package agent_test

import (
	"strings"
	"testing"

	"github.com/cam-os/edge/node/agent"
)

func TestSpecs(t *testing.T) {
	for name, c := range map[string]struct {
		specs []agent.Spec
		want  string // of the error
	}{
		"all kinds": {[]agent.Spec{{Name: "a", Unit: "a.service"}, {Name: "b", Cgroup: "/b"}, {Name: "c", Cgroup: "robots.slice/c-*.scope/"},
			{Name: "d", Container: "d-[0-9]?"}, {Name: "e", Container: "d-[0-9]?", User: "robot"}, {Name: "f", Pod: "robots/*/main"}}, ""},
		"an escaped unit is no pattern": {[]agent.Spec{{Name: "a", Unit: `a\x2db.service`}, {Name: "b", Cgroup: `/system.slice/b\x2db.service`}}, ""},
		"none":                          {[]agent.Spec{{Name: "a"}}, "agents.known[0] (a): give the cgroup or the unit, the container or the pod"},
		"two":                           {[]agent.Spec{{Name: "a", Container: "a", Pod: "a/b/c"}}, "give one of container and pod, not both"},
		"user of a pod":                 {[]agent.Spec{{Name: "a", Pod: "a/b/c", User: "robot"}}, "user goes with container"},
		"odd user":                      {[]agent.Spec{{Name: "a", Container: "a", User: "../x"}}, "want a uid"},
		"container's path":              {[]agent.Spec{{Name: "a", Container: "/camera"}}, "without '/'"},
		"two levels":                    {[]agent.Spec{{Name: "a", Cgroup: "/robots/**/x"}}, "'**' is not known"},
		"container **":                  {[]agent.Spec{{Name: "a", Container: "**"}}, "'**' is not known"},
		"unclosed":                      {[]agent.Spec{{Name: "a", Container: "a["}}, "not a pattern"},
		"unclosed path":                 {[]agent.Spec{{Name: "a", Cgroup: "/x/a[/b"}}, "not a pattern"},
		"endless":                       {[]agent.Spec{{Name: "a", Container: strings.Repeat("a", 2000)}}, "not a pattern"},
		"pod without namespace":         {[]agent.Spec{{Name: "a", Pod: "vision-*"}}, "want namespace/pod/container"},
		"pod with an empty part":        {[]agent.Spec{{Name: "a", Pod: "a//c"}}, "want namespace/pod/container"},
		"pod, bad pattern":              {[]agent.Spec{{Name: "a", Pod: "a/b/c\\"}}, "not a pattern"},
		"unit with a pattern":           {[]agent.Spec{{Name: "a", Unit: "a-*.service"}}, "for a pattern give the cgroup"},
		"unit without a suffix":         {[]agent.Spec{{Name: "a", Unit: "a"}}, "want a name such as"},
		"escaping":                      {[]agent.Spec{{Name: "a", Cgroup: "/*/../x"}}, "'..'"},
		"root":                          {[]agent.Spec{{Name: "a", Cgroup: "//"}}, "root cgroup"},
		"same container":                {[]agent.Spec{{Name: "a", Container: "x-*"}, {Name: "b", Container: "x-*"}}, "a and b name the same container x-*"},
		"same users":                    {[]agent.Spec{{Name: "a", Container: "x", User: "robot"}, {Name: "b", Container: "x", User: "robot"}}, "the same container x of user robot"},
		"root's":                        {[]agent.Spec{{Name: "a", Container: "x"}, {Name: "b", Container: "x", User: "0"}}, "the same container x"},
		"same pod":                      {[]agent.Spec{{Name: "a", Pod: "x/y/*"}, {Name: "b", Pod: "x/y/*"}}, "the same pod x/y/*"},
		"same pattern":                  {[]agent.Spec{{Name: "a", Cgroup: "/x/*"}, {Name: "b", Cgroup: "x/*/"}}, "the same cgroup /x/*"},
		"same cgroup":                   {[]agent.Spec{{Name: "a", Cgroup: "/system.slice/x.service"}, {Name: "b", Unit: "x.service"}}, "the same cgroup /system.slice/x.service"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := agent.DefaultConfig()
			cfg.Known = c.specs
			err := cfg.Validate()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
