package sensor

import (
	"errors"
	"fmt"
)

// Config says where the kernel's files are and how much to keep.
type Config struct {
	// Sysfs, Procfs and Cgroup are the roots of the kernel's file trees.
	// Empty: /sys, /proc and /sys/fs/cgroup.
	Sysfs, Procfs, Cgroup string
	// MaxCgroups is how many cgroups the kernel's map has room for; what does
	// not fit goes to Snapshot.Overflow. 0: 4096.
	MaxCgroups int
	// Force takes this source or none. Empty: the best that there is.
	Force Source
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
	k, err := openKernel(c)
	if err == nil {
		return k, nil
	}
	return nil, errors.Join(err)
}
