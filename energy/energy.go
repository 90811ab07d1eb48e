// Package energy meters joules and divides them.
//
// A Meter gives cumulative energy per zone; Divide splits what a zone used in
// one interval between idle, consumers and nobody, exactly: the parts always
// sum to what was metered, to the microjoule. Open finds the meters.
//
// # Where joules come from
//
// Where the kernel shows RAPL counters (class/powercap below sysfs; Intel since
// Sandy Bridge, AMD since Zen), they are read: package, core, uncore and dram
// of each socket, and psys of the platform. The same files on any other file
// system are a simulator's, and every figure from them is labelled so; it
// cannot be turned off. A package without a readable counter is estimated by a
// model: idle and maximal power, configured or from a table of processors, and
// the time its CPUs ran. Each Reading says which it was, how old it is and how
// far to trust it. Zones overlap (core lies in package, all in psys): they are
// never summed over names.
//
// Whatever else the device has is read as well, each as a zone of its own:
// hwmon's energy counters and power gauges (GPUs, the INA2xx and INA3221 of ARM
// boards, power meters of servers) and batteries. What is only power is
// integrated, and the error of that is stated. Of several sources for one zone
// the first of powercap, perf, hwmon and model counts. Reading.Weighing says
// whether a zone's energy can be divided by CPU time at all.
//
// # Why a total never goes back or jumps
//
// Counters wrap, as often as every four minutes; they are reset by suspension
// or by loading a module again; they freeze, vanish, and now and then show
// nonsense. A lower value is a wrap if the energy that a wrap implies can have
// been drawn in the time, going by the zone's rated power. What can be no wrap,
// and what rises further than the zone can draw, is doubted until the next
// reading confirms it. If that refutes it, nothing was lost; if it confirms it,
// what passed around the reset is not counted. So a total errs to the low side,
// and Faults, Resets and Note tell.
//
// # What dividing by CPU time can and cannot say
//
// Divide takes the learned idle power first (Baseline) and splits the rest by
// time on a CPU. It is exact in sum, and cannot know that two tasks of equal
// CPU time draw different power: by as much as half, with vector units or a
// cache that misses (Wattmeter, HotCarbon 2024). A share is therefore an
// estimate also where the total is measured.
package energy

import "time"

// Microjoules is energy, an amount or a cumulative total. 2^64 µJ are 585
// years at a kilowatt.
type Microjoules uint64

// Joules converts for display.
func (e Microjoules) Joules() float64 { return float64(e) / 1e6 }

// Microwatts is power.
type Microwatts uint64

// Watts converts for display.
func (p Microwatts) Watts() float64 { return float64(p) / 1e6 }

// Over is the energy of power p held for d, rounded down.
func (p Microwatts) Over(d time.Duration) Microjoules {
	if d <= 0 {
		return 0
	}
	// Split so that neither product overflows below 18 MW.
	s, ns := uint64(d/time.Second), uint64(d%time.Second)
	return Microjoules(uint64(p)*s + uint64(p)*ns/uint64(time.Second))
}

// Source names what a reading rests on.
type Source string

const (
	// RAPL is a hardware counter behind the kernel's powercap tree
	// (Documentation/power/powercap).
	RAPL Source = "rapl"
	// PerfRAPL is the same hardware counter behind perf's power PMU
	// (arch/x86/events/rapl.c), where powercap cannot be read.
	PerfRAPL Source = "perf"
	// HWMon is a sensor behind the kernel's hwmon class
	// (Documentation/hwmon/sysfs-interface.rst): a counter, or a gauge whose
	// readings are integrated.
	HWMon Source = "hwmon"
	// PowerSupply is a battery's or an input's gauge
	// (Documentation/ABI/testing/sysfs-class-power), integrated.
	PowerSupply Source = "power_supply"
	// Model is an estimate from idle and maximal power and the time CPUs ran.
	Model Source = "model"
	// Simulated is any of the trees above on what is not the kernel's sysfs.
	Simulated Source = "simulated"
)

// Measured reports whether s rests on a meter of this machine, as opposed to a
// model or a simulator.
func (s Source) Measured() bool {
	switch s {
	case RAPL, PerfRAPL, HWMon, PowerSupply:
		return true
	}
	return false
}

// Weighing names what tells who drew a zone's energy.
type Weighing string

const (
	// CPUTime: a processor's zone, or the whole device's; what is above idle is
	// divided by time on the CPUs of the zone. "" means the same.
	CPUTime Weighing = "cpu_time"
	// Cycles: as CPUTime, by CPU cycles. No meter says so by itself; the ledger
	// does, where it has them.
	Cycles Weighing = "cycles"
	// NoWeighing: a GPU, a disk, a rail of which nothing is known. CPU time does
	// not say who drew it: all of it above idle is unattributed.
	NoWeighing Weighing = "none"
)

// AllSockets is the Zone.Socket of a zone that spans packages (psys, a battery,
// a board's input) or lies in none (a GPU).
const AllSockets = -1

// Zone is an energy domain. Zones overlap; they are never summed over names.
type Zone struct {
	// Name is package, core, uncore, dram or psys; or that of a rail, GPU or
	// battery: 1 to 63 of [a-z0-9_-], from its label or its device, the same
	// over restarts.
	Name string
	// Socket is the physical package id, or AllSockets.
	Socket int
	Source Source
}

// State of a reading.
type State uint8

const (
	// Fresh: the counter was read and had moved, or no time had passed, or a
	// gauge was read.
	Fresh State = iota
	// Stale: read, but it has not moved, or it does not show now what the zone
	// draws (a battery that is charged); Age says since when.
	Stale
	// Lost: it could not be read or made no sense; Total is the last good one.
	Lost
)

// Reading is one zone's cumulative energy. Total never goes back, through
// wraps, resets, failures and zones that vanish and return.
type Reading struct {
	Zone  Zone
	Total Microjoules // since the meter opened
	State State
	Age   time.Duration // since Total last moved
	// Error is the relative standard uncertainty of a difference of totals,
	// 0.05 = 5%; 0 where it is not known. That of an integrated gauge contains
	// what recent readings say of the sampling.
	Error float64
	// Weighing says whether CPU time tells who drew the zone's energy.
	Weighing Weighing
	// Idle is the zone's power when quiet, where that is known: by a model, or
	// from the configuration; 0 where it must be learned.
	Idle Microwatts
	// Note says what a reader should know, e.g. how a model was calibrated.
	Note  string
	Wraps uint64 // counter wraps seen and corrected
	// Resets counts how often the counter went back and it was no wrap, or a
	// gauge began anew after a time in which it could not tell. What passed
	// before is not in Total, nor will be: work that waits for it can be dropped.
	Resets uint64
	Faults uint64 // readings that failed or were refused as implausible
}

// Activity is what the machine did, for meters that estimate.
type Activity struct {
	// At is CLOCK_BOOTTIME.
	At time.Duration
	// Busy is cumulative on-CPU time of all tasks but idle, by package index.
	Busy []time.Duration
	// CPUs is the number of online CPUs, by package index.
	CPUs []int
	// Packages holds the physical package ids, by package index.
	Packages []int
	// Suspended is the cumulative time that the machine was suspended:
	// CLOCK_BOOTTIME minus CLOCK_MONOTONIC. 0 if it is not known; then a
	// suspended interval is taken for an idle one.
	Suspended time.Duration
}

// Meter reads zones. One Meter may hold many zones; it keeps reporting a zone
// it has lost.
type Meter interface {
	// Read returns a reading for every zone the meter ever had. It must not be
	// called concurrently. Faults are in the readings, not in an error.
	Read(Activity) []Reading
	// Calibrate replaces the watts of Config for what is read from now on; what
	// was counted stays. It must not be called concurrently with Read. Watts
	// that Open would refuse change nothing.
	Calibrate(idleWatts, maxWatts float64) error
	Close() error
}
