package sensor

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// features are what the eBPF sensor measures beyond time and switches, as far
// as kernel, machine and configuration allow.
type features struct {
	io     bool // bytes per task
	waits  bool
	cycles bool
}

// counters are the kinds of events that count cycles and instructions.
func (c Config) counters() [2]counter {
	if c.events != nil {
		return *c.events
	}
	return hardware
}

// find finds out what there is, and says what is not.
func find(c Config, cache *btf.Cache) (has features, missed []string) {
	has = features{io: true, waits: !c.NoWaits, cycles: true}
	if n, err := ebpf.PossibleCPU(); err != nil {
		has.cycles = false // startKernel will say so
	} else if err := try(c.counters(), n); err != nil {
		has.cycles = false
		missed = append(missed, err.Error())
	}
	spec, err := cache.Kernel()
	if err != nil {
		return has, missed // the loader will say so better
	}
	if has.io = hasField(spec, "task_io_accounting", "read_bytes"); !has.io {
		missed = append(missed, "I/O bytes per cgroup: this kernel does not count task I/O; boot one with CONFIG_TASK_IO_ACCOUNTING=y")
	} else if hiddenTasks(c.Procfs) {
		missed = append(missed, "I/O bytes: those of processes outside this pid namespace come when they exit; run in the host's (hostPID)")
	}
	if has.waits {
		if err := keepsWaits(spec, c.Procfs); err != nil {
			has.waits = false
			missed = append(missed, err.Error())
		}
	}
	return has, missed
}

// spec is the built-in object, cut down to what there is.
func (f features) spec(c Config, cpus int) (*ebpf.CollectionSpec, error) {
	spec, err := loadSched()
	if err != nil {
		return nil, fmt.Errorf("read the built-in eBPF object: %w", err)
	}
	room := uint32(c.MaxCgroups) // #nosec G115 -- withDefaults bounds it
	spec.Maps[schedMapUsages].MaxEntries = room
	spec.Maps[schedMapAncestries].MaxEntries = 4 * room
	spec.Maps[schedMapWaiting].MaxEntries = room
	if !f.waits {
		spec.Maps[schedMapWaiting].MaxEntries = 1
	}
	for _, m := range []string{schedMapCycleEvents, schedMapInstructionEvents} {
		spec.Maps[m].MaxEntries = uint32(cpus) // #nosec G115 -- far fewer
	}
	for name, on := range map[string]bool{schedVarCountWaits: f.waits, schedVarCountCycles: f.cycles} {
		if err := spec.Variables[name].Set(on); err != nil {
			return nil, fmt.Errorf("set %s in the built-in eBPF object: %w", name, err)
		}
	}
	if !f.io {
		delete(spec.Programs, schedProgTaskIo)
		delete(spec.Programs, schedProgSchedProcessExit)
	}
	return spec, nil
}
