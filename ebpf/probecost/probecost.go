// Package probecost measures what the sensor costs at each context switch,
// against a program that does nothing, in the same run.
package probecost

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/sensor"
)

// Config says what to run. The zero value takes about five seconds.
type Config struct {
	// Rounds of each program, in turns. The cheapest of each counts, since
	// whatever else the machine does only adds. 0: 5.
	Rounds int
	// Each is how long a round lasts. 0: 300 ms.
	Each time.Duration
	// Cgroups are directories of cgroup2 cgroups, one or two: the ping-pong's
	// two processes run in the first and the last. Empty: in this process's.
	Cgroups []string
}

// Result is the cost per context switch. All include what the kernel's own
// measuring costs (BPF_STATS_RUN_TIME).
//
// The sensor's only program of the scheduler is the one at sched_switch, so
// that its cost is the sum of all; what runs at forks, exits and moves is not
// in it.
type Result struct {
	Empty   time.Duration // the empty program
	Sensor  time.Duration // the sensor's program
	NoWaits time.Duration // the sensor's program with sensor.Config.NoWaits
	// EmptyRate, SensorRate and NoWaitsRate are context switches per second of
	// the ping-pong under each, the machine's other ones included.
	EmptyRate, SensorRate, NoWaitsRate float64
}

// Above is what the sensor's program costs above an empty one.
func (r Result) Above() time.Duration { return r.Sensor - r.Empty }

// NoWaitsAbove is Above without waits.
func (r Result) NoWaitsAbove() time.Duration { return r.NoWaits - r.Empty }

// Measure bounces a byte between two processes that are pinned to one CPU,
// which makes nothing but context switches, and times the programs. It needs
// what the eBPF sensor needs.
func Measure(c Config) (r Result, err error) {
	if c.Rounds == 0 {
		c.Rounds = 5
	}
	if c.Each == 0 {
		c.Each = 300 * time.Millisecond
	}
	if c.Rounds < 0 || c.Each < 0 || len(c.Cgroups) > 2 {
		return r, fmt.Errorf("probecost: cannot run %+v", c)
	}
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return r, fmt.Errorf("probecost: turn on BPF statistics: %w", err)
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	p, err := startPingPong(c.Cgroups)
	if err != nil {
		return r, fmt.Errorf("probecost: %w", err)
	}
	defer func() { err = errors.Join(err, p.stop()) }()

	var empties, sensors, spares []cost
	for range c.Rounds {
		for _, m := range []struct {
			open func() (counted, error)
			into *[]cost
		}{
			{openEmpty, &empties},
			{func() (counted, error) { return openSensor(sensor.Config{}) }, &sensors},
			{func() (counted, error) { return openSensor(sensor.Config{NoWaits: true}) }, &spares},
		} {
			one, err := round(m.open, c.Each)
			if err != nil {
				return r, fmt.Errorf("probecost: %w", err)
			}
			*m.into = append(*m.into, one)
		}
	}
	r.Empty, r.EmptyRate = cheapest(empties)
	r.Sensor, r.SensorRate = cheapest(sensors)
	r.NoWaits, r.NoWaitsRate = cheapest(spares)
	return r, nil
}

// counted is an attached program that knows what it cost so far.
type counted interface {
	io.Closer
	cost() (cost, error)
}

type cost struct {
	runs uint64
	time time.Duration
	over time.Duration // what passed meanwhile
}

func round(open func() (counted, error), each time.Duration) (c cost, err error) {
	p, err := open()
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	start := time.Now()
	before, err := p.cost()
	if err != nil {
		return c, err
	}
	time.Sleep(each)
	after, err := p.cost()
	if err != nil {
		return c, err
	}
	c = cost{after.runs - before.runs, after.time - before.time, time.Since(start)}
	if c.runs == 0 {
		return c, errors.New("the program never ran")
	}
	return c, nil
}

func cheapest(all []cost) (each time.Duration, rate float64) {
	m := slices.MinFunc(all, func(a, b cost) int { return int(a.each() - b.each()) })
	return m.each(), float64(m.runs) / m.over.Seconds()
}

func (c cost) each() time.Duration {
	return c.time / time.Duration(c.runs) // #nosec G115 -- far below 2^63 runs
}

type emptyProgram struct {
	objs emptyObjects
	link link.Link
}

func openEmpty() (counted, error) {
	var e emptyProgram
	if err := loadEmptyObjects(&e.objs, nil); err != nil {
		return nil, err
	}
	var err error
	if e.link, err = link.AttachTracing(link.TracingOptions{Program: e.objs.Empty}); err != nil {
		return nil, errors.Join(err, e.objs.Close())
	}
	return &e, nil
}

func (e *emptyProgram) cost() (cost, error) {
	s, err := e.objs.Empty.Stats()
	if err != nil {
		return cost{}, err
	}
	return cost{runs: s.RunCount, time: s.Runtime}, nil
}

func (e *emptyProgram) Close() error { return errors.Join(e.link.Close(), e.objs.Close()) }

type sensorProgram struct{ sensor.Sensor }

func openSensor(c sensor.Config) (counted, error) {
	c.Force = sensor.EBPF
	s, err := sensor.Open(c)
	if err != nil {
		return nil, err
	}
	return sensorProgram{s}, nil
}

func (s sensorProgram) cost() (cost, error) {
	snap, err := s.Snapshot()
	if err != nil {
		return cost{}, err
	}
	for _, p := range snap.Probes {
		if p.Name == "sched_switch" {
			return cost{runs: p.Runs, time: p.Time}, nil
		}
	}
	return cost{}, errors.New("the sensor has no sched_switch program")
}
