package sensor

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/histogram"
	"github.com/cam-os/edge/ebpf/kernfs"
)

const noWaits = "waits for a CPU: "

// keepsWaits says why this kernel does not keep when tasks were queued; nil if
// it does.
func keepsWaits(spec *btf.Spec, procfs string) error {
	if !hasField(spec, "sched_info", "last_queued") {
		return errors.New(noWaits + "this kernel does not keep them; boot one with CONFIG_SCHEDSTATS=y or CONFIG_TASK_DELAY_ACCT=y")
	}
	// kernel/sched/stats.h, sched_info_on; proc_pid_schedstat shows zeros.
	if b, err := kernfs.Read(filepath.Join(procfs, "self/schedstat")); err == nil && strings.TrimSpace(string(b)) == "0 0 0" {
		return errors.New(noWaits + "this kernel has them turned off; boot it with the parameter delayacct")
	}
	if !hasField(spec, "cfs_rq", "rq") {
		return errors.New(noWaits + "this kernel cannot schedule groups; boot one with CONFIG_FAIR_GROUP_SCHED=y")
	}
	return nil
}

// hasField says whether the kernel's struct has a member; one that a
// configuration leaves out may be there and empty.
func hasField(spec *btf.Spec, name, member string) bool {
	var s *btf.Struct
	if spec.TypeByName(name, &s) != nil {
		return false
	}
	for _, m := range s.Members {
		if m.Name == member {
			return true
		}
	}
	return false
}

// waits reads every cgroup's histogram, those in the slots of offline CPUs
// included.
func (k *kernel) waits(offline []int) (map[cgroup.ID]histogram.Log2, error) {
	if !k.has.waits {
		return nil, nil
	}
	all := make(map[cgroup.ID]histogram.Log2, len(k.seen))
	err := each(k.maps.Waiting, k.usages.singly, func(id uint64, w schedWaits) { all[cgroup.ID(id)] = w.log2() })
	if err != nil {
		return nil, fmt.Errorf("read waits: %w", err)
	}
	for _, cpu := range offline {
		for _, slot := range k.state[cpu].Slots {
			h, ok := all[cgroup.ID(slot.Id)]
			if !ok {
				continue
			}
			for i, n := range slot.Waits {
				h.Counts[i] += uint64(n)
			}
			h.Sum += time.Duration(slot.Waited) // #nosec G115 -- 292 years of nanoseconds
			all[cgroup.ID(slot.Id)] = h
		}
	}
	return all, nil
}

func (w schedWaits) log2() histogram.Log2 {
	return histogram.Log2{Counts: w.Counts, Sum: time.Duration(w.Ns)} // #nosec G115 -- 292 years of nanoseconds
}
