package block

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
)

// maxKeys keeps the kernel's map within what one allocation gives.
const maxKeys = 1 << 18

// Sensor aggregates in the kernel (bpf/block.bpf.c).
type Sensor struct {
	objs       blockObjects
	links      []link.Link
	usages     reader[blockIoKey, blockIoUsage]
	ancestries reader[uint64, blockAncestry]
	names      reader[uint32, blockDiskName]
	disks      disks
	seen       map[Key]*account
	unseen     unseen
	buried     map[cgroup.ID]cgroup.ID // ancestries that the last look removed
	missed     []string
}

// Open starts to count. Where the kernel or this process's rights do not allow
// it, the error is a *sensor.UnsupportedError.
func Open(c Config) (*Sensor, error) { return open(c, ownersHere()) }

// owners is what a request may hold: bios of one cgroup, or of several. The
// program looks closer where they may differ; tests make it always do so.
type owners uint32

const (
	oneOwner owners = iota
	mayDiffer
	tellApart
)

// ownersHere goes by Linux 5.18, which no longer merges bios of several cgroups
// into one request (block/blk-cgroup.h, blk_cgroup_mergeable).
func ownersHere() owners {
	if v, err := features.LinuxVersionCode(); err == nil && v >= 5<<16|18<<8 {
		return oneOwner
	}
	return mayDiffer
}

func open(c Config, o owners) (*Sensor, error) {
	s, err := load(c, o)
	if err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	if err := s.attach(); err != nil {
		return nil, fmt.Errorf("block: %w", errors.Join(sensor.Explain(err), s.Close()))
	}
	if err := s.unseen.begin(s.entries); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// load makes a sensor that does not count yet.
func load(c Config, o owners) (*Sensor, error) {
	if c.Sysfs == "" {
		c.Sysfs = "/sys"
	}
	if c.Procfs == "" {
		c.Procfs = "/proc"
	}
	if c.MaxKeys == 0 {
		c.MaxKeys = 2048
	}
	if c.MaxKeys < 1 || c.MaxKeys > maxKeys {
		return nil, fmt.Errorf("room for %d keys; give 1 to %d", c.MaxKeys, maxKeys)
	}
	if err := sensor.Ready(); err != nil {
		return nil, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	spec, err := loadBlock()
	if err != nil {
		return nil, fmt.Errorf("read the built-in eBPF object: %w", err)
	}
	spec.Maps[blockMapUsages].MaxEntries = uint32(c.MaxKeys) // #nosec G115 -- bounded above
	// Cgroups share ancestors; a single one may be as deep as the program goes.
	spec.Maps[blockMapAncestries].MaxEntries = uint32(c.MaxKeys + 64) // #nosec G115
	if err := spec.Variables[blockVarOwners].Set(uint32(o)); err != nil {
		return nil, err
	}
	// Parsing the kernel's BTF leaves several megabytes of garbage, once.
	defer debug.FreeOSMemory()
	s := &Sensor{disks: disks{sysfs: c.Sysfs}, seen: make(map[Key]*account), unseen: unseen{procfs: c.Procfs}}
	cache := c.BTF
	if cache == nil {
		cache = btf.NewCache()
	}
	if err := spec.LoadAndAssign(&s.objs, &ebpf.CollectionOptions{Cache: cache}); err != nil {
		return nil, sensor.Explain(err)
	}
	s.missed = append(nameless(cache, "/proc/cgroups"), s.unseen.missing()...)
	s.usages = reader[blockIoKey, blockIoUsage]{m: s.objs.Usages, cpus: cpus}
	s.ancestries = reader[uint64, blockAncestry]{m: s.objs.Ancestries, cpus: 1}
	s.names = reader[uint32, blockDiskName]{m: s.objs.Names, cpus: 1}
	return s, nil
}

func (s *Sensor) attach() error {
	for _, p := range s.programs() {
		l, err := link.AttachTracing(link.TracingOptions{Program: p.prog})
		if err != nil {
			return fmt.Errorf("attach %s: %w", p.name, err)
		}
		s.links = append(s.links, l)
	}
	return nil
}

// program is a loaded one with the name that the C source gives it.
type program struct {
	name string
	prog *ebpf.Program
}

// programs come in the order in which they are attached: nothing is counted
// before a removal can be noticed.
func (s *Sensor) programs() []program {
	return []program{
		{blockProgCgroupRmdir, s.objs.CgroupRmdir},
		{blockProgBlockRqComplete, s.objs.BlockRqComplete},
	}
}

// Missing says in words what this sensor cannot tell, and the remedy.
func (s *Sensor) Missing() []string { return s.missed }

// Close stops counting. A second call does nothing.
func (s *Sensor) Close() error {
	var errs []error
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	s.links = nil
	errs = append(errs, s.objs.Close())
	return errors.Join(errs...)
}

// nameless says what keeps the kernel from telling whose a bio is.
func nameless(cache *btf.Cache, cgroups string) []string {
	const loss = "whose block I/O it is: "
	if spec, err := cache.Kernel(); err == nil && !hasOwner(spec) {
		return []string{loss + "this kernel does not keep it; boot one with CONFIG_BLK_CGROUP=y"}
	}
	table, err := os.ReadFile(cgroups) // #nosec G304 -- /proc/cgroups, or a test's
	if err != nil {
		return nil // newer kernels can be built without it, and without version 1
	}
	var missed []string
	for line := range bytes.Lines(table) {
		f := bytes.Fields(line)
		if len(f) != 4 {
			continue
		}
		name, version1, off := string(f[0]), string(f[1]) != "0", string(f[3]) == "0"
		loss := map[string]string{"blkio": loss, "memory": "whose buffered writes are written back: "}[name]
		switch {
		case loss == "":
		case off:
			missed = append(missed, fmt.Sprintf("%sthe %s controller is off; boot without cgroup_disable=%s", loss, name, name))
		case version1:
			missed = append(missed, fmt.Sprintf("%sthe %s controller is bound to a version 1 hierarchy; boot with cgroup_no_v1=%s, or systemd.unified_cgroup_hierarchy=1", loss, name, name))
		}
	}
	return missed
}

func hasOwner(spec *btf.Spec) bool {
	var bio *btf.Struct
	if spec.TypeByName("bio", &bio) != nil {
		return true // the loader says so better
	}
	for _, m := range bio.Members {
		if m.Name == "bi_blkg" {
			return true
		}
	}
	return false
}
