package simulator

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/cam-os/edge/energy"
)

// Config describes a machine. Its fields are plain, so that YAML can say them.
type Config struct {
	// Root is the directory that plays sysfs; it is created.
	Root string `yaml:"root"`
	// Cgroup is the cgroup2 mount; "" finds it. Procfs is "" for /proc.
	Cgroup string `yaml:"cgroup"`
	Procfs string `yaml:"procfs"`
	// RangeJoules is where the counters wrap; 0 means 262143.32885, as with
	// RAPL's 61 µJ unit.
	RangeJoules float64 `yaml:"range_joules"`
	// StartJoules is what the counters show at first: near the range, to see a
	// wrap soon.
	StartJoules float64 `yaml:"start_joules"`
	// Sockets are the packages; none means one with 5 W at idle.
	Sockets []Socket `yaml:"sockets"`
	// Loads say what cgroups draw; the first that matches a cgroup counts.
	Loads []Load `yaml:"loads"`
	// OtherWatts is what a CPU draws, beyond idle, for whatever no load matches;
	// 0 means nothing. It is drawn on socket OtherSocket.
	OtherWatts  float64 `yaml:"other_watts"`
	OtherSocket int     `yaml:"other_socket"`
	// Board adds an INA3221 whose rail VDD_IN feeds all sockets and their DRAM,
	// Battery a battery that is discharged by the same. They show power, the
	// mean of the latest step, in mV × mA and in µW.
	Board   bool `yaml:"board"`
	Battery bool `yaml:"battery"`
}

// Socket is a package.
type Socket struct {
	// IdleWatts is drawn all the time.
	IdleWatts float64 `yaml:"idle_watts"`
	// Core adds a core zone, which shows the package without its idle power.
	Core bool `yaml:"core"`
	// DRAMWatts adds a dram zone that draws this all the time.
	DRAMWatts float64 `yaml:"dram_watts"`
}

// Load is what the cgroups that match draw.
type Load struct {
	// Cgroup is a pattern (path.Match) for paths below the cgroup2 mount, as
	// "/cam.slice/*". A cgroup stands for all below it that no load matches.
	Cgroup string `yaml:"cgroup"`
	// Watts is drawn, beyond idle, per busy CPU.
	Watts float64 `yaml:"watts"`
	// Socket is the index of the socket that the cgroups run on. The simulator
	// believes it; pin them if it matters.
	Socket int `yaml:"socket"`
}

const (
	defaultRange = 262143.328850
	defaultIdle  = 5
	mostWatts    = 100_000
	mostSockets  = 64
)

// withDefaults fills in what was left out, and refuses what makes no sense,
// naming each fault by its key.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("simulator: "+format, args...))
	}
	watts := func(key string, w float64) {
		if math.IsNaN(w) || w < 0 || w > mostWatts {
			fault("%s: %v is not a power from 0 to %d W", key, w, mostWatts)
		}
	}
	if c.Root == "" {
		fault("root: name a directory to play sysfs")
	}
	if c.Procfs == "" {
		c.Procfs = "/proc"
	}
	if c.Cgroup == "" {
		c.Cgroup = findCgroup()
	}
	if c.RangeJoules == 0 {
		c.RangeJoules = defaultRange
	}
	if !(c.RangeJoules >= 1 && c.RangeJoules <= 1e12) {
		fault("range_joules: %v is not from 1 to 1e12", c.RangeJoules)
	}
	if !(c.StartJoules >= 0 && c.StartJoules < c.RangeJoules) {
		fault("start_joules: %v is not below range_joules (%v)", c.StartJoules, c.RangeJoules)
	}
	if len(c.Sockets) == 0 {
		c.Sockets = []Socket{{IdleWatts: defaultIdle}}
	}
	if len(c.Sockets) > mostSockets {
		fault("sockets: %d are more than %d", len(c.Sockets), mostSockets)
	}
	for i, s := range c.Sockets {
		watts(fmt.Sprintf("sockets[%d].idle_watts", i), s.IdleWatts)
		watts(fmt.Sprintf("sockets[%d].dram_watts", i), s.DRAMWatts)
	}
	socket := func(key string, n int) {
		if n < 0 || n >= len(c.Sockets) {
			fault("%s: there is no socket %d; they are 0 to %d", key, n, len(c.Sockets)-1)
		}
	}
	for i, l := range c.Loads {
		watts(fmt.Sprintf("loads[%d].watts", i), l.Watts)
		socket(fmt.Sprintf("loads[%d].socket", i), l.Socket)
		if _, err := path.Match(l.Cgroup, ""); err != nil || !strings.HasPrefix(l.Cgroup, "/") || path.Clean(l.Cgroup) != l.Cgroup || l.Cgroup == "/" {
			fault("loads[%d].cgroup: %q is no pattern such as /cam.slice/*", i, l.Cgroup)
		}
	}
	watts("other_watts", c.OtherWatts)
	socket("other_socket", c.OtherSocket)
	return c, errors.Join(errs...)
}

// findCgroup is the cgroup2 mount of a unified or a hybrid hierarchy.
func findCgroup() string {
	const unified, hybrid = "/sys/fs/cgroup", "/sys/fs/cgroup/unified"
	if _, err := os.Stat(filepath.Join(unified, "cgroup.controllers")); err != nil {
		if _, err := os.Stat(filepath.Join(hybrid, "cgroup.controllers")); err == nil {
			return hybrid
		}
	}
	return unified
}

func microwatts(w float64) energy.Microwatts { return energy.Microwatts(math.Round(w * 1e6)) }

func microjoules(j float64) energy.Microjoules { return energy.Microjoules(math.Round(j * 1e6)) }

// DefaultPeriod is a good period for Run: a fraction of the interval at which
// the counters are read, or their beat shows.
const DefaultPeriod = 100 * time.Millisecond
