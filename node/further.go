package node

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/cam-os/edge/ebpf/block"
	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/node/agent"
	"github.com/cam-os/edge/node/groups"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// further is what is measured beside the sensor: block I/O, and what the kernel
// keeps for the cgroups of agents. Each part may be absent.
type further struct {
	block  *block.Sensor
	groups *groups.Groups
	cfg    SensorConfig
	// owners of the cgroups that did block I/O: dirty pages outlive their
	// writer's cgroup, and the registry's memory of it.
	owners map[cgroup.ID]string
}

// furtherLook is one look at all of it.
type furtherLook struct {
	groups.Look
	blocks ledger.Blocks
	probes []sensor.Probe
}

// open returns what cannot be measured, with the remedy.
func (f *further) open(cfg Config, h *cgroup.Hierarchy, kernel *btf.Cache) (missing []string) {
	f.cfg, f.owners = cfg.Sensor, make(map[cgroup.ID]string)
	if cfg.Sensor.Block {
		b, err := block.Open(block.Config{Sysfs: cfg.Path.Sysfs, Procfs: cfg.Path.Procfs, BTF: kernel})
		if err != nil {
			missing = append(missing, fmt.Sprintf("I/O on disks: %v", err))
		} else {
			f.block = b
			missing = append(missing, b.Missing()...)
		}
	}
	if h != nil && (cfg.Sensor.Controllers || cfg.Sensor.Network) {
		f.groups = groups.Open(h, groups.Config{Controllers: cfg.Sensor.Controllers, Network: cfg.Sensor.Network, BTF: kernel})
		missing = append(missing, f.groups.Missing()...)
	}
	return missing
}

// look reads everything. What fails is complained of, and caught up with later.
func (f *further) look(r *agent.Registry, c *complaints) furtherLook {
	var out furtherLook
	if f.groups != nil {
		var err error
		out.Look, err = f.groups.Look(r.Members())
		c.about("cgroup files", err)
		out.probes = append(out.probes, f.groups.Probes()...)
	}
	if f.block == nil {
		return out
	}
	snap, err := f.block.Snapshot()
	c.about("disks", err)
	if err != nil {
		return out
	}
	for _, p := range snap.Probes {
		if !strings.HasPrefix(p.Name, "block_") {
			p.Name = "block_" + p.Name // the scheduler's sensor has one of that name
		}
		out.probes = append(out.probes, p)
	}
	f.learn(snap, r)
	unowned := out.Unowned
	out.blocks = ledger.Blocks{Snapshot: snap, Owner: func(id cgroup.ID) string {
		if name := f.owners[id]; name != "" {
			return name
		}
		if unowned[id] {
			return ledger.Unattributed
		}
		return ledger.System
	}}
	return out
}

// learn keeps the owners of all cgroups in the snapshot, and of no others.
func (f *further) learn(snap *block.Snapshot, r *agent.Registry) {
	owners := make(map[cgroup.ID]string, len(f.owners))
	for k := range snap.Usage {
		if _, ok := owners[k.Cgroup]; ok {
			continue
		}
		name := r.Owner(k.Cgroup, snap.Parents)
		if name == "" {
			name = f.owners[k.Cgroup]
		}
		owners[k.Cgroup] = name
	}
	f.owners = owners
}

func (f *further) measures() observe.Further {
	return observe.Further{
		Block:       f.block != nil,
		Controllers: f.groups != nil && f.cfg.Controllers,
		Network:     f.groups != nil && f.groups.Network(),
	}
}

func (f *further) close() error {
	var errs []error
	if f.block != nil {
		errs = append(errs, f.block.Close())
	}
	if f.groups != nil {
		errs = append(errs, f.groups.Close())
	}
	return errors.Join(errs...)
}
