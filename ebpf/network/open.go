package network

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
)

// Open loads the programs. A *sensor.UnsupportedError says what the kernel or
// this process lacks. Where only refused connections cannot be counted, Missing
// says so.
//
// cache is the kernel's type information, to share; see sensor.Config.
func Open(h *cgroup.Hierarchy, cache *btf.Cache) (*Counter, error) { return open(h, cache, 4096) }

// open has room for so many followed cgroups; the kernel takes memory only for
// those that there are.
func open(h *cgroup.Hierarchy, cache *btf.Cache, room uint32) (_ *Counter, err error) {
	root, err := h.ID("/")
	if err != nil {
		return nil, fmt.Errorf("count network traffic: %w", err)
	}
	// In a cgroup namespace, no path tells how deep below the root it is.
	if root != cgroup.Root {
		return nil, &sensor.UnsupportedError{What: "the whole cgroup tree, not a namespace of it",
			Remedy: "run in the host's cgroup namespace (--cgroupns=host)"}
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, noRights(err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	c := &Counter{
		h:        h,
		pairs:    make(map[int]*pair),
		followed: make(map[cgroup.ID]*followed),
		perCPU:   make([]programsTraffic, cpus),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.spec, err = loadPrograms(); err != nil {
		return nil, fmt.Errorf("read the built-in eBPF object: %w", err)
	}
	c.spec.Maps[programsMapTraffics].MaxEntries = room
	if c.traffics, err = ebpf.NewMap(c.spec.Maps[programsMapTraffics]); err != nil {
		return nil, explain(err)
	}
	if _, err := c.pair(1); err != nil {
		return nil, err
	}
	if err := c.countRefusals(cache); err != nil {
		c.missing = append(c.missing, "connections refused: "+err.Error())
	}
	return c, nil
}

// countRefusals needs more of the kernel than packets do: its BTF, and
// CAP_PERFMON.
func (c *Counter) countRefusals(cache *btf.Cache) error {
	var p struct {
		Program *ebpf.Program `ebpf:"inet_sock_set_state"`
	}
	// Parsing the kernel's BTF leaves several megabytes of garbage, once.
	defer debug.FreeOSMemory()
	if err := c.load(&p, cache, 0); err != nil {
		return explainTracing(err)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: p.Program})
	if err != nil {
		return errors.Join(explainTracing(err), p.Program.Close())
	}
	c.refusals, c.refused = p.Program, l
	return nil
}

// load takes the programs that into names, for cgroups at this depth.
func (c *Counter) load(into any, cache *btf.Cache, level int) error {
	spec := c.spec.Copy()
	if err := spec.Variables["level"].Set(uint32(level)); err != nil { // #nosec G115 -- a path's depth
		return err
	}
	return spec.LoadAndAssign(into, &ebpf.CollectionOptions{
		Cache:           cache,
		MapReplacements: map[string]*ebpf.Map{programsMapTraffics: c.traffics},
	})
}

func noRights(err error) error {
	return &sensor.UnsupportedError{What: "CAP_BPF and CAP_NET_ADMIN to count network traffic", Err: err,
		Remedy: "run as root, or grant both (AmbientCapabilities= in the unit); kernels before 5.11 also need LimitMEMLOCK=infinity"}
}

// explain turns what the kernel said while loading into what is missing.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return noRights(err)
	case errors.Is(features.HaveProgramType(ebpf.CGroupSKB), ebpf.ErrNotSupported):
		return &sensor.UnsupportedError{What: "programs in cgroups", Remedy: "boot a kernel with CONFIG_CGROUP_BPF=y", Err: err}
	case errors.Is(err, ebpf.ErrNotSupported):
		return &sensor.UnsupportedError{What: "a newer kernel", Remedy: "use 5.10 or later", Err: err}
	}
	return fmt.Errorf("load the eBPF network counter: %w", err)
}

func explainTracing(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &sensor.UnsupportedError{What: "CAP_PERFMON beside CAP_BPF", Remedy: "grant it too (AmbientCapabilities= in the unit)", Err: err}
	case errors.Is(err, ebpf.ErrNotSupported):
		return &sensor.UnsupportedError{What: "the kernel's BTF", Remedy: "boot a kernel of 5.10 or later with CONFIG_DEBUG_INFO_BTF=y", Err: err}
	}
	return fmt.Errorf("load the eBPF program: %w", err)
}
