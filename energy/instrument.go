package energy

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"time"
)

const (
	// patience is how long a look waits for a device, unless it was slow for
	// tooOften times in a row: then it is no longer waited for, and what it says
	// is taken at a later look.
	patience = time.Second
	slow     = 100 * time.Millisecond
	tooOften = 3
	// overdue is after how long a device that does not answer is called lost.
	overdue = 10 * time.Second
)

// instrument is one counter or gauge of a device, and the zone that it meters.
// It is known by what does not change when devices are numbered anew.
type instrument struct {
	id       string // "ina3221/1-0040/in1"
	zone     Zone
	weighing Weighing
	accuracy float64 // relative standard uncertainty of the sensor itself
	note     string  // what is always to be said
	read     sampler
	device   *device
	reason   string // why it cannot be read; "" if it can

	counter *counter // either this
	gauge   *gauge   // or that
	// superseded names the better source that took the zone over. It is for
	// ever, since a source keeps reporting what it once had.
	superseded Source
}

// sampler reads a value in the unit of its instrument: µJ of a counter, µW of a
// gauge. quiet says why the device shows no such value just now, although
// nothing is wrong.
type sampler func(*os.Root) (value uint64, quiet string, err error)

// device is a directory below class/hwmon or class/power_supply.
type device struct {
	id, dir string
	root    *os.Root // nil while it is gone
	reason  string   // why it is nil
	power   *os.Root // its device's power directory; nil if there is none
	// every is the time between two looks at a device that falls asleep when it
	// is left alone: each look would keep it awake.
	every  time.Duration
	looked time.Duration
	// suspended is how long the machine had slept in all, then.
	suspended time.Duration
	seen      bool        // looked is set
	answer    chan answer // what was asked for and has not come; nil if nothing
	tardy     int         // slow answers in a row
}

// answer is what a device gave, and how long it took.
type answer struct {
	samples []sample
	took    time.Duration
}

// sample is what a sampler gave.
type sample struct {
	of    *instrument
	value uint64
	quiet string
	err   error
}

// enter binds the device to a directory; fresh reports that it is another one
// than before.
func (d *device) enter(root *os.Root, dir string) (fresh bool, err error) {
	own, err := openSubtree(root, dir)
	if err != nil {
		d.leave(err.Error())
		return false, err
	}
	fresh = true
	if d.root != nil {
		before, _ := d.root.Stat(".")
		after, _ := own.Stat(".")
		fresh = !os.SameFile(before, after)
		_ = d.root.Close()
	}
	d.closePower()
	d.root, d.dir, d.reason, d.every = own, dir, "", 0
	if power, err := openSubtree(root, path.Join(dir, "device/power")); err == nil {
		d.power = power
		d.every = restlessness(power)
	}
	return fresh, nil
}

// restlessness is twice the time after which an idle device is suspended
// (Documentation/ABI/testing/sysfs-devices-power), 0 if it never is.
func restlessness(power *os.Root) time.Duration {
	control, err := readWord(power, "control")
	if err != nil || control != "auto" {
		return 0
	}
	ms, err := readGauge(power, "autosuspend_delay_ms")
	if err != nil {
		return 0 // negative: never
	}
	return 2 * time.Duration(min(ms, uint64(time.Minute/time.Millisecond))) * time.Millisecond // #nosec G115 -- at most a minute
}

// settle reports whether nothing is being read. What a device still owed when
// it left is dropped.
func (d *device) settle() bool {
	if d.answer == nil || d.root != nil {
		return d.answer == nil
	}
	select {
	case <-d.answer:
		d.answer = nil
		return true
	default:
		return false
	}
}

// asleep reports whether the device is suspended; to read its sensors would
// wake it (amdgpu, i915 and xe resume their GPU for it).
func (d *device) asleep() bool {
	if d.power == nil {
		return false
	}
	status, err := readWord(d.power, "runtime_status")
	return err == nil && (status == "suspended" || status == "suspending")
}

func (d *device) leave(reason string) {
	if d.root != nil {
		_ = d.root.Close()
	}
	d.closePower()
	d.root, d.reason = nil, reason
}

func (d *device) closePower() {
	if d.power != nil {
		_ = d.power.Close()
	}
	d.power = nil
}

// ask takes the samples of all of a device's instruments, unless it still owes
// them, and gives those that are there in time. Some sensors take long: an
// INA3221 waits for its next conversion at every file, a firmware for its bus.
// They must not hold up all else.
func (d *device) ask(list []*instrument, at, wait time.Duration) []sample {
	if d.answer == nil {
		d.seen, d.looked = true, at
		answers, root := make(chan answer, 1), d.root
		d.answer = answers
		go func() {
			a, start := answer{}, time.Now()
			for _, i := range list {
				s := sample{of: i}
				s.value, s.quiet, s.err = i.read(root)
				a.samples = append(a.samples, s)
			}
			a.took = time.Since(start)
			answers <- a
		}()
	}
	if d.tardy >= tooOften {
		wait = 0
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case a := <-d.answer:
		d.answer = nil
		if d.tardy++; a.took < slow {
			d.tardy = 0
		}
		return a.samples
	case <-timer.C:
		return nil
	}
}

// take judges a sample that was asked for at time at.
func (i *instrument) take(s sample, at, suspended time.Duration) {
	switch {
	case s.err != nil:
		i.reason = i.explain(s.err)
		i.refuse(i.reason)
		return
	case s.quiet != "":
		i.pause(s.quiet, at)
	case i.counter != nil:
		i.counter.take(Microjoules(s.value), at, suspended)
	default:
		i.gauge.take(Microwatts(s.value), at, suspended)
	}
	i.reason = ""
}

func (i *instrument) explain(err error) string {
	switch name := path.Join(i.device.dir, path.Base(i.id)); {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s may not be read: run as root, or grant CAP_DAC_READ_SEARCH", name)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s is gone; if its driver was unloaded, load it again", name)
	default:
		return fmt.Sprintf("%s: %v", name, err)
	}
}

func (i *instrument) refuse(why string) {
	if i.counter != nil {
		i.counter.refuse(why)
	} else {
		i.gauge.refuse(why)
	}
}

// pause marks an interval in which nothing can be read, and that is no fault.
// A counter may count on meanwhile, or start anew.
func (i *instrument) pause(why string, at time.Duration) {
	if c := i.counter; c != nil {
		c.state, c.warning, c.gone = Stale, why, true
		return
	}
	i.gauge.pause(why, at)
}

// ever reports whether the instrument ever showed anything.
func (i *instrument) ever() bool {
	if i.counter != nil {
		return i.counter.known
	}
	return i.gauge.seen
}

// reading shows the instrument's total.
func (i *instrument) reading(at time.Duration) Reading {
	r := Reading{Zone: i.zone, Weighing: i.weighing, Note: i.note, Error: i.accuracy}
	warning := ""
	if i.zone.Source == Simulated {
		// It has no error of its own, as simulated RAPL: what it shows is the truth.
		r.Error, r.Note = 0, join("simulated: the tree is not the kernel's sysfs", r.Note)
	}
	if c := i.counter; c != nil {
		r.Total, r.State, r.Age = c.total, c.state, c.age(at)
		r.Wraps, r.Resets, r.Faults, warning = c.wraps, c.resets, c.faults, c.warning
	} else {
		g := i.gauge
		r.Total, r.State, r.Age = g.total, g.state, g.age(at)
		r.Resets, r.Faults, warning = g.resets, g.faults, g.warning
		r.Error = math.Hypot(r.Error, g.sampling())
	}
	if i.superseded != "" {
		r.State, warning = Stale, "superseded by "+string(i.superseded)
	}
	if warning != "" {
		r.Note = warning
	}
	return r
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
