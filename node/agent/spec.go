package agent

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Spec names an agent that is started by somebody else, by exactly one of
// Cgroup, Unit, Container and Pod. A pattern has the syntax of path.Match: '*'
// stands for any part of one name and never for a '/'. All cgroups that it
// matches at once (replicas) are one agent.
type Spec struct {
	Name string `yaml:"name"`
	// Cgroup is a path below the cgroup2 root, or a pattern for one.
	Cgroup string `yaml:"cgroup"`
	// Unit is a systemd unit of the system manager, such as
	// agent-b.service: short for /system.slice/agent-b.service.
	Unit string `yaml:"unit"`
	// Container is a pattern for the name of a Docker or Podman container.
	Container string `yaml:"container,omitempty"`
	// User is whose containers Container means, a uid or a name of /etc/passwd;
	// empty: the system's. Anybody may call a container of his own anything.
	User string `yaml:"user,omitempty"`
	// Pod is a pattern for namespace/pod/container of Kubernetes.
	Pod string `yaml:"pod,omitempty"`
}

// target is what a Spec means: one cgroup, or a pattern.
type target struct {
	cgroup         string // one cgroup's path, cleaned
	glob           string // a pattern for such
	container, pod string // patterns
	user           string // of container
}

func (t target) isPattern() bool { return t.cgroup == "" }

// String is the target as people say it.
func (t target) String() string {
	switch {
	case t.cgroup != "":
		return t.cgroup
	case t.glob != "":
		return "cgroup " + t.glob
	case t.pod != "":
		return "pod " + t.pod
	case t.user != "":
		return fmt.Sprintf("container %s of user %s", t.container, t.user)
	}
	return "container " + t.container
}

var validUser = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,63}$`)

func (s Spec) target() (target, error) {
	var given []string
	for _, k := range []struct{ key, value string }{
		{"cgroup", s.Cgroup}, {"unit", s.Unit}, {"container", s.Container}, {"pod", s.Pod},
	} {
		if k.value != "" {
			given = append(given, k.key)
		}
	}
	switch {
	case len(given) == 0:
		return target{}, errors.New("give the cgroup or the unit, the container or the pod")
	case len(given) > 1:
		return target{}, fmt.Errorf("give one of %s, not both", strings.Join(given, " and "))
	case s.User != "" && s.Container == "":
		return target{}, errors.New("user goes with container: it says whose")
	case s.User != "" && !validUser.MatchString(s.User):
		return target{}, fmt.Errorf("user %q: want a uid, or a name of /etc/passwd", s.User)
	}
	switch given[0] {
	case "unit":
		if strings.ContainsAny(s.Unit, "/*?[") || !strings.Contains(s.Unit, ".") {
			return target{}, fmt.Errorf("unit %q: want a name such as agent-b.service; for a pattern give the cgroup, such as /system.slice/agent-*.service", s.Unit)
		}
		return target{cgroup: "/system.slice/" + s.Unit}, nil
	case "container":
		if strings.Contains(s.Container, "/") {
			return target{}, fmt.Errorf("container %q: want a container's name, such as camera-*, without '/'", s.Container)
		}
		user := s.User
		if user == "0" || user == "root" {
			user = ""
		}
		return target{container: s.Container, user: user}, checkPattern("container", s.Container)
	case "pod":
		parts := strings.Split(s.Pod, "/")
		if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
			return target{}, fmt.Errorf("pod %q: want namespace/pod/container, such as robots/vision-*/main", s.Pod)
		}
		return target{pod: s.Pod}, checkPattern("pod", s.Pod)
	}
	p := path.Clean("/" + s.Cgroup)
	switch {
	case p == "/":
		return target{}, errors.New("the root cgroup cannot be an agent")
	case strings.Contains(s.Cgroup, ".."):
		return target{}, fmt.Errorf("cgroup %q: must not contain '..'", s.Cgroup)
	case isGlob(p):
		return target{glob: p}, checkPattern("cgroup", p)
	}
	return target{cgroup: p}, nil
}

// isGlob says whether a path of a cgroup is a pattern. A backslash alone makes
// none: it is part of the names of many units.
func isGlob(p string) bool { return strings.ContainsAny(p, "*?[") }

func checkPattern(key, p string) error {
	if strings.Contains(p, "**") {
		return fmt.Errorf("%s %q: '**' is not known; '*' is any part of one name, so give one for each level", key, p)
	}
	if _, err := path.Match(p, ""); err != nil || len(p) > 1024 {
		return fmt.Errorf("%s %q: not a pattern: '*' is any part of a name, '?' one character, '[a-z]' one of these, and '\\' before any of them takes it as it is", key, p)
	}
	return nil
}
