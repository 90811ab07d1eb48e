package sensor

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// counter is a kind of event that every CPU counts.
type counter struct{ kind, config uint64 }

// hardware are a performance monitoring unit's cycles and instructions.
var hardware = [2]counter{
	{unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_CPU_CYCLES},
	{unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_INSTRUCTIONS},
}

// open starts counting on one CPU, whatever runs there. The event is pinned: it
// counts all the time or not at all, so that nothing needs scaling.
func (c counter) open(cpu int) (int, error) {
	attr := unix.PerfEventAttr{Type: uint32(c.kind), Config: c.config, Bits: unix.PerfBitPinned} // #nosec G115 -- a small constant
	attr.Size = uint32(unsafe.Sizeof(attr))
	return unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
}

// counters are the cycle and the instruction counters of every CPU.
type counters struct {
	kinds [2]counter
	maps  [2]*ebpf.Map
	fds   [][2]int // by CPU; -1: not open
}

// newCounters opens none yet; try says first whether there is any.
func newCounters(kinds [2]counter, maps [2]*ebpf.Map, cpus int) *counters {
	c := &counters{kinds: kinds, maps: maps, fds: make([][2]int, cpus)}
	for cpu := range c.fds {
		c.fds[cpu] = [2]int{-1, -1}
	}
	return c
}

// try says why the counters cannot be had. CPUs that are offline do not count.
func try(kinds [2]counter, cpus int) error {
	err := error(unix.ENODEV)
	for cpu := 0; cpu < cpus && errors.Is(err, unix.ENODEV); cpu++ {
		for _, kind := range kinds {
			var fd int
			if fd, err = kind.open(cpu); err != nil {
				break
			}
			_ = unix.Close(fd)
		}
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		// Debian's kernels refuse all but CAP_SYS_ADMIN above 2.
		return fmt.Errorf("cycles and instructions: performance counters need CAP_PERFMON and, on Debian, sysctl kernel.perf_event_paranoid=2 or less: %w", err)
	}
	return fmt.Errorf("cycles and instructions: no performance counter can be had (%w); on a virtual machine, give it a virtual PMU", err)
}

// keep opens the counters of CPUs that are online and have none, or whose
// counters stand still since the CPU was away.
func (c *counters) keep(state []schedCpu, offline []int) error {
	if c == nil {
		return nil
	}
	for cpu := range c.fds {
		if slices.Contains(offline, cpu) {
			c.shut(cpu)
			continue
		}
		if c.fds[cpu][0] >= 0 && state[cpu].Stopped == 0 {
			continue
		}
		c.shut(cpu)
		if err := c.start(cpu); err != nil {
			return fmt.Errorf("count on CPU %d: %w", cpu, err)
		}
	}
	return nil
}

func (c *counters) start(cpu int) error {
	for i, kind := range c.kinds {
		fd, err := kind.open(cpu)
		if errors.Is(err, unix.ENODEV) {
			return nil // it went away just now
		}
		if err != nil {
			return err
		}
		c.fds[cpu][i] = fd
		if err := c.maps[i].Put(uint32(cpu), uint32(fd)); err != nil { // #nosec G115 -- a CPU, a descriptor
			return err
		}
	}
	return nil
}

// shut lets the counters of a CPU go.
func (c *counters) shut(cpu int) {
	for i, fd := range c.fds[cpu] {
		if fd >= 0 {
			_ = c.maps[i].Delete(uint32(cpu)) // #nosec G115 -- a CPU
			_ = unix.Close(fd)
		}
		c.fds[cpu][i] = -1
	}
}

// Close lets all go.
func (c *counters) Close() {
	if c == nil {
		return
	}
	for cpu := range c.fds {
		c.shut(cpu)
	}
}
