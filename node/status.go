package node

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/node/api"
)

// Status implements api.Node: what the doctor sees from inside.
func (n *Node) Status() api.Status {
	s := api.Status{Version: n.version, Started: n.started}
	add := func(f api.Finding) { s.Findings = append(s.Findings, f) }
	add(n.user())
	add(n.samples())
	add(n.sensing())
	for _, f := range n.metering() {
		add(f)
	}
	add(n.starting())
	if err := n.registry.Clash(); err != nil {
		add(api.Finding{Name: "agent names", Level: api.Failed, Detail: err.Error(), Remedy: "rename one of them in agents.known, or end the scope"})
	}
	for _, a := range n.registry.Unseen() {
		add(api.Finding{Name: "agent", Level: api.OK, Detail: a})
	}
	if lost := n.moves.lost.Load(); lost > 0 {
		add(api.Finding{Name: "moves", Level: api.Degraded, Detail: fmt.Sprintf("%d moves of tasks between cgroups came faster than they could be recorded", lost),
			Remedy: "find who moves them: camctl observe lists the latest"})
	}
	add(n.storing())
	for _, m := range n.missing {
		what, remedy, _ := strings.Cut(m, "; ")
		name, detail, ok := strings.Cut(what, ": ")
		if !ok || strings.Contains(name, " ") && len(name) > 24 {
			name, detail = "missing", what
		}
		add(api.Finding{Name: name, Level: api.Degraded, Detail: detail, Remedy: remedy})
	}
	return s
}

func (n *Node) user() api.Finding {
	if os.Geteuid() == 0 {
		return api.Finding{Name: "user", Detail: "root"}
	}
	return api.Finding{Name: "user", Level: api.Degraded, Detail: fmt.Sprintf("uid %d, an ordinary user", os.Geteuid()),
		Remedy: "as root the node measures with eBPF, reads RAPL and starts agents"}
}

func (n *Node) samples() api.Finding {
	f := api.Finding{Name: "samples"}
	o := n.latest.Load()
	if o == nil {
		f.Level, f.Detail = api.Failed, "none yet"
		return f
	}
	f.Detail = fmt.Sprintf("%d, every %v", o.Sequence, n.cfg.Load().Interval)
	if failed := n.failures.Load(); failed > 0 {
		f.Level, f.Detail = api.Degraded, fmt.Sprintf("%s; %d failed", f.Detail, failed)
		f.Remedy = "the node's log says why"
	}
	return f
}

func (n *Node) sensing() api.Finding {
	f := api.Finding{Name: "sensor", Detail: string(n.sensor.Source())}
	if note := sensorNote(n.sensor.Source()); note != "" {
		f.Detail += ": " + note
	} else {
		f.Detail += ": exact at every switch and exit"
	}
	if n.sensor.Source() != sensor.EBPF {
		f.Level = api.Degraded
	}
	return f
}

func (n *Node) metering() (out []api.Finding) {
	o := n.latest.Load()
	if o == nil {
		return nil
	}
	for _, z := range o.Zones {
		r := z.Reading
		if r.State == energy.Lost && r.Total == 0 && r.Faults == 0 {
			continue // of an earlier run, or another source
		}
		name := "energy " + r.Zone.Name
		if r.Zone.Socket != energy.AllSockets {
			name += fmt.Sprintf("-%d", r.Zone.Socket)
		}
		f := api.Finding{Name: name, Detail: string(r.Zone.Source)}
		switch r.Zone.Source {
		case energy.Model:
			f.Level, f.Detail = api.Degraded, fmt.Sprintf("an estimate, ±%.0f%%: %s", r.Error*100, r.Note)
			if cfg := n.cfg.Load().Energy; cfg.IdleWatts == 0 || cfg.MaxWatts == 0 {
				f.Remedy = "calibrate it with energy.idle_watts and energy.max_watts, or run where RAPL can be read"
			}
		case energy.Simulated:
			f.Level, f.Detail = api.Degraded, "simulated: no real power was metered"
			f.Remedy = "point --path.sysfs at the kernel's sysfs"
		}
		if r.Weighing == energy.NoWeighing {
			f.Detail += "; nothing says who drew it: unattributed"
		}
		if f.Level == api.OK && r.Note != "" {
			f.Detail += "; " + r.Note
		}
		if z.IdlePower == 0 && r.State == energy.Fresh && r.Weighing != energy.NoWeighing {
			f.Detail += "; idle power not learned yet: the machine was never quiet, nor at two levels of load"
			f.Remedy = strings.TrimPrefix(f.Remedy+"; or set energy.idle_watts", "; or ")
		}
		switch r.State {
		case energy.Stale:
			f.Level, f.Detail = api.Degraded, fmt.Sprintf("%s; the counter has not moved for %v", f.Detail, r.Age.Round(time.Second))
		case energy.Lost:
			f.Level, f.Detail = api.Failed, f.Detail+"; the counter cannot be read any more"
			f.Remedy = "look at its files below /sys (powercap, hwmon, power_supply)"
		}
		if r.Faults > 0 {
			f.Detail += fmt.Sprintf("; %d readings failed or were refused", r.Faults)
		}
		out = append(out, f)
	}
	return out
}

func (n *Node) starting() api.Finding {
	if n.launcher == nil {
		return api.Finding{Name: "camctl run", Level: api.Degraded, Detail: "this node cannot make cgroups for agents",
			Remedy: "run the node as root, or in a cgroup delegated to you: systemd-run --user --scope -p Delegate=yes cam-node run"}
	}
	return api.Finding{Name: "camctl run", Detail: "agents get a cgroup below " + n.launcher.Slice()}
}

func (n *Node) storing() api.Finding {
	s := n.store.Stats()
	f := api.Finding{Name: "store", Detail: fmt.Sprintf("%s, %.1f of at most %.1f MB", n.cfg.Load().StateDir, float64(s.FileBytes)/1e6, float64(s.MaxBytes)/1e6)}
	switch {
	case s.Degraded != "":
		f.Level, f.Detail = api.Failed, s.Degraded
		f.Remedy = fmt.Sprintf("make room on the device of %s, or make it writable; figures are kept in memory until then", n.cfg.Load().StateDir)
	case s.Quarantined != "":
		f.Level, f.Detail = api.Degraded, "a damaged database was moved aside: "+s.Quarantined
		f.Remedy = "look at it with camctl store check, then remove it"
	case s.LivePath == "":
		f.Level, f.Detail = api.Degraded, f.Detail+"; no tmpfs for the live copy"
		f.Remedy = "a killed node may forget the last minute; give it /run or XDG_RUNTIME_DIR"
	}
	return f
}
