// Package observe is what the node knows at the end of an interval: the one
// value that every face (socket, metrics, terminal) reads. An Observation is
// immutable once published, so that no reader changes what another one sees.
package observe

import (
	"time"

	"github.com/cam-os/edge/ebpf/cgroupfs"
	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/node/ledger"
)

// State of an agent.
type State uint8

const (
	// Running: its cgroup holds processes.
	Running State = iota
	// Empty: its cgroup exists and holds no process.
	Empty
	// Ended: its cgroup is gone; the account stays.
	Ended
	// Absent: the configuration names it, and it has not been seen yet.
	Absent
)

// Agent is an account with what only agents have.
type Agent struct {
	Name  string
	State State
	// Cgroup is the path below the cgroup2 root, with a leading slash: the
	// newest where it has several, the last where it has ended, "" where it is
	// absent.
	Cgroup string
	// Cgroups are all that it has now, the newest first.
	Cgroups []string
	// Memory is what it holds; nil where the memory controller is not enabled.
	Memory *cgroupfs.Memory
	// Parts is what else is measured of its cgroups now.
	Parts cgroupfs.Parts
	// Lacking names what is not measured of this agent, with the remedy: the
	// controllers that its cgroup has not.
	Lacking []string
}

// Further says what is measured beside the sensor's figures.
type Further struct {
	// Block: I/O on disks.
	Block bool
	// Controllers: throttling, pressure and memory of agents.
	Controllers bool
	// Network: of agents.
	Network bool
}

// Move is a task that left an agent.
type Move struct {
	sensor.Move
	Time                   time.Time
	FromAccount, ToAccount string
}

// CgroupUsage is one cgroup's part of `system` in the latest interval.
type CgroupUsage struct {
	Cgroup string
	Usage  ledger.Usage
}

// Observation is one published look.
type Observation struct {
	Time     time.Time     // wall clock, may jump
	At       time.Duration // CLOCK_BOOTTIME, never jumps
	Interval time.Duration
	Sequence uint64
	// Sensor is where CPU and I/O figures come from; SensorNote says what a
	// reader should know about their quality ("" when exact).
	Sensor     sensor.Source
	SensorNote string
	// Measures says which CPU and I/O figures there are; the others are 0
	// because nobody counted.
	Measures  sensor.Measures
	Further   Further
	Accounts  []ledger.Account // agents by name, then retired, system, idle, unattributed
	Agents    map[string]Agent // by account name
	Zones     []ledger.ZoneAccount
	Breakdown []CgroupUsage // of system, busiest first
	Missing   []string
	Probes    []sensor.Probe
	// Moves are the latest out of agents, newest last.
	Moves []Move
	// Self is the node's own use since it started; its energy is an estimate
	// and contained in system.
	Self ledger.Usage
}
