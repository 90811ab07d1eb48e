package cgroupfs

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// losses are what cannot be known of a cgroup without a controller, and
// systemd's setting that turns it on.
var losses = []struct{ controller, loss, setting string }{
	{"cpu", "throttled time", "CPUAccounting=yes CPUWeight=100"},
	{"io", "who wrote which blocks", "IOAccounting=yes"},
	{"memory", "memory and OOM kills", "MemoryAccounting=yes"},
}

// Missing says in words what cannot be read of the cgroup as Enabled has it,
// and the remedy for each.
func (r *Reader) Missing() []string {
	var out []string
	on := r.Enabled()
	there, err := os.ReadFile(filepath.Join(r.root, controllers.String())) // #nosec G304 -- the hierarchy's root
	machine := strings.Fields(string(there))
	for _, l := range losses {
		if slices.Contains(on, l.controller) {
			continue
		}
		what := fmt.Sprintf("%s: the %s controller is not enabled for %s; ", l.loss, l.controller, r.path)
		if err == nil && !slices.Contains(machine, l.controller) {
			out = append(out, what+notThere(l.controller))
			continue
		}
		out = append(out, what+enable(r.path, r.root, l.controller, l.setting))
	}
	if r.fds[cpuPressure] < 0 {
		out = append(out, fmt.Sprintf("stalls: %s has no pressure files; boot with psi=1 on a kernel with CONFIG_PSI=y, and write 1 to its cgroup.pressure", r.path))
	}
	return out
}

// notThere: the machine's cgroup2 tree lacks the controller.
func notThere(controller string) string {
	s := "version 1 has it, or the kernel lacks it: boot with systemd.unified_cgroup_hierarchy=1"
	if controller == "memory" {
		s += " cgroup_enable=memory (some boards have it off)"
	}
	return s
}

// enable says how a cgroup gets a controller. systemd answers for the cgroups of
// its units, and undoes what others write there.
func enable(p, root, controller, setting string) string {
	unit, own := unitOf(p)
	systemctl := "systemctl"
	if strings.Contains(p, "/user@") && !strings.HasPrefix(unit, "user@") {
		systemctl += " --user"
	}
	write := fmt.Sprintf("write +%s to %s", controller, filepath.Join(root, path.Dir(path.Join("/", p)), "cgroup.subtree_control"))
	switch {
	case unit == "":
		return "start it with camctl run, or " + write
	case own:
		return fmt.Sprintf("%s set-property %s %s, or start it with camctl run", systemctl, unit, setting)
	}
	return fmt.Sprintf("give %s Delegate=%s (DelegateControllers), and %s", unit, controller, write)
}

// unitOf is the nearest unit of systemd that a path is in, and whether it is the
// cgroup of the unit itself.
func unitOf(p string) (unit string, own bool) {
	parts := strings.Split(strings.Trim(p, "/"), "/")
	for i, name := range slices.Backward(parts) {
		switch path.Ext(name) {
		case ".service", ".scope", ".slice":
			return name, i == len(parts)-1
		}
	}
	return "", false
}
