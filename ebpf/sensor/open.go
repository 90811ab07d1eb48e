package sensor

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// Config says where the kernel's files are and how much to keep.
type Config struct {
	// Sysfs, Procfs and Cgroup are the roots of the kernel's file trees.
	// Empty: /sys, /proc and /sys/fs/cgroup.
	Sysfs, Procfs, Cgroup string
	// MaxCgroups is how many cgroups the kernel's map has room for; what does
	// not fit goes to Snapshot.Overflow. 0: 4096.
	MaxCgroups int
	// NoWaits leaves Usage.Wait out, which makes each context switch a little
	// cheaper (bench/ says by how much), and the kernel's maps smaller by some
	// 250 bytes a cgroup.
	NoWaits bool
	// Force takes this source or none. Empty: the best that there is.
	Force Source
	// BTF is the kernel's type information as far as it was read, to share with
	// other sensors: reading it takes a tenth of a second and several megabytes
	// that are garbage once all have opened. Nil: read anew.
	BTF *btf.Cache

	events *[2]counter // instead of the hardware's, in tests
}

func (c Config) withDefaults() (Config, error) {
	if c.Sysfs == "" {
		c.Sysfs = "/sys"
	}
	if c.Procfs == "" {
		c.Procfs = "/proc"
	}
	if c.Cgroup == "" {
		c.Cgroup = "/sys/fs/cgroup"
	}
	if c.MaxCgroups == 0 {
		c.MaxCgroups = 4096
	}
	if c.MaxCgroups < 1 || c.MaxCgroups > 1<<20 {
		return c, fmt.Errorf("sensor: room for %d cgroups; give 1 to %d", c.MaxCgroups, 1<<20)
	}
	return c, nil
}

// Open starts the best sensor that this kernel and this process's rights
// allow. What kept it from a better one is in the sensor's Missing.
func Open(c Config) (Sensor, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	var missed []string
	var errs []error
	for _, o := range []struct {
		source Source
		loss   string
		open   func(Config) (Sensor, error)
	}{
		{EBPF, "exact figures", func(c Config) (Sensor, error) { return orNil(openKernel(c)) }},
		{Cgroup, "figures per cgroup", func(c Config) (Sensor, error) { return orNil(openFiles(c)) }},
		{Procfs, "any figures", func(c Config) (Sensor, error) { return orNil(openProcfs(c)) }},
	} {
		if c.Force != "" && c.Force != o.source {
			continue
		}
		s, err := o.open(c)
		if err == nil {
			return &named{s, append(missed, s.Missing()...)}, nil
		}
		missed = append(missed, o.loss+": "+err.Error())
		errs = append(errs, fmt.Errorf("%s: %w", o.source, err))
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("sensor: no source %q; there are %s, %s and %s", c.Force, EBPF, Cgroup, Procfs)
	}
	return nil, fmt.Errorf("sensor: %w", errors.Join(errs...))
}

// orNil keeps a nil pointer from becoming a Sensor that is not nil.
func orNil[T Sensor](s T, err error) (Sensor, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// named is a sensor that also knows what kept it from being a better one.
type named struct {
	Sensor
	missed []string
}

// Missing implements Sensor.
func (n *named) Missing() []string { return slices.Clone(n.missed) }
