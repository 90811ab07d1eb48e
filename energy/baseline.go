package energy

import (
	"errors"
	"fmt"
	"math/bits"
	"time"
)

// Baseline learns the power of a quiet zone: what it draws with nobody on a
// CPU. The zero value is ready and has learned nothing.
//
// No machine is ever quite quiet, and many never are, so it keeps the lower
// envelope of power over utilisation: eight levels of utilisation, and in each
// the point (utilisation, power) that the cheapest intervals tend to. A point
// falls fast to a cheaper interval (a quarter of the way) and rises slowly (an
// hour), so that one false reading moves it little and a summer moves it at
// last. A point only moves along the line to an observed one, so points of a
// linear zone stay on its line.
//
//   - If intervals below 2% utilisation were seen, the baseline is their point,
//     less what the slope to a busier level says its utilisation cost.
//   - Else it is where the line through two levels, at least 10 points apart
//     and the lower one below 50%, meets zero utilisation.
//   - Else it is 0: not learned, and everything metered goes to who ran.
//
// Power over utilisation is concave (Fan, Weber and Barroso, "Power
// provisioning for a warehouse-sized computer", ISCA 2007: idle + (busy -
// idle)(2u - u^1.4)), so a line through busy levels meets zero above the true
// idle power: the estimate errs to the high side. It is therefore capped at
// the lowest point of the envelope, since no idle power is above what the zone
// has drawn at work; and Idle caps it at what the interval metered.
//
// Integers only: the same observations give the same power everywhere.
type Baseline struct {
	// Configured is used instead of what was learned, unless it is 0.
	Configured Microwatts

	levels [levelCount]Level
	usual  time.Duration // length of an interval, smoothed
}

const (
	levelCount = 8
	// whole is full utilisation, in ppm.
	whole = 1_000_000
	// quiet is the utilisation below which a level counts as idle by itself.
	quiet = 20_000
	// apart is how far levels must lie apart for a line through them.
	apart = 100_000
	// furthest is the highest utilisation to extrapolate from.
	furthest = 500_000
	// settle is for how long a level must have been seen before it counts.
	settle = 5 * time.Second
	// rise is the time in which a point rises to a dearer interval.
	rise = time.Hour
	// shortest interval whose power says something: counters move each ms.
	shortest = 50 * time.Millisecond
	// absurd power is refused; no zone draws 100 kW.
	absurd = Microwatts(100_000_000_000)
)

// levelEnds are the upper ends of the levels of utilisation, in ppm.
var levelEnds = [levelCount]uint64{10_000, quiet, 50_000, apart, 200_000, 400_000, 700_000, whole}

// Level is the cheapest known power at one level of utilisation.
type Level struct {
	// Utilisation is on-CPU time over CPU time, in ppm.
	Utilisation uint64        `json:"utilisation_ppm"`
	Power       Microwatts    `json:"microwatts"`
	Seen        time.Duration `json:"seen_nanoseconds"`
}

// BaselineState is what was learned, to be kept over restarts.
type BaselineState struct {
	Usual  time.Duration `json:"usual_interval_nanoseconds"`
	Levels []Level       `json:"levels"`
}

// Observe learns from one interval of a zone: the energy metered, its length,
// the on-CPU time of all tasks but idle and the number of CPUs of the zone.
//
// Give it intervals whose readings at both ends were Fresh. Intervals that
// cannot teach are ignored: no energy at all (a frozen counter), too short, or
// more than half as long again as usual, since part of such a one may have been
// spent suspended, drawing less than idle, or around a reset, not counted.
func (b *Baseline) Observe(metered Microjoules, elapsed, busy time.Duration, cpus int) {
	if metered == 0 || elapsed < shortest || busy < 0 || cpus <= 0 {
		return
	}
	power, ok := meanPower(metered, elapsed)
	if !ok || power > absurd || !b.isUsual(elapsed) {
		return
	}
	u := utilisation(busy, elapsed, cpus)
	n := 0
	for n < levelCount-1 && u >= levelEnds[n] {
		n++
	}
	l := &b.levels[n]
	switch {
	case l.Seen == 0:
		l.Power, l.Utilisation = power, u
	case power < l.Power:
		l.Power = Microwatts(towards(uint64(l.Power), uint64(power), 1, 4))
		l.Utilisation = towards(l.Utilisation, u, 1, 4)
	default:
		num := uint64(min(elapsed, rise)) // #nosec G115 -- positive
		l.Power = Microwatts(towards(uint64(l.Power), uint64(power), num, uint64(rise)))
		l.Utilisation = towards(l.Utilisation, u, num, uint64(rise))
	}
	l.Seen = min(l.Seen+elapsed, rise)
}

// isUsual follows the length of intervals, and reports whether this one is
// short enough to hold no suspended time.
func (b *Baseline) isUsual(elapsed time.Duration) bool {
	if b.usual == 0 {
		b.usual = elapsed
		return elapsed <= time.Minute
	}
	long := elapsed > b.usual+b.usual/2
	b.usual += (min(elapsed, 4*b.usual) - b.usual) / 8
	return !long
}

// Power is the configured power, else the learned one, else 0.
func (b *Baseline) Power() Microwatts {
	p, _ := b.learned()
	return p
}

// Note says in words what Power rests on.
func (b *Baseline) Note() string {
	_, note := b.learned()
	return note
}

// Idle is the baseline's part of the energy metered in an interval; never more
// than metered.
func (b *Baseline) Idle(metered Microjoules, elapsed time.Duration) Microjoules {
	return min(b.Power().Over(elapsed), metered)
}

func (b *Baseline) learned() (Microwatts, string) {
	if b.Configured > 0 {
		return b.Configured, "configured"
	}
	low, lowest := -1, Microwatts(0)
	for i, l := range b.levels {
		if l.Seen < settle {
			continue
		}
		if low < 0 {
			low, lowest = i, l.Power
		}
		lowest = min(lowest, l.Power)
	}
	if low < 0 {
		return 0, "not learned yet"
	}
	l := b.levels[low]
	for _, h := range b.levels[low+1:] {
		if h.Seen < settle || h.Utilisation < l.Utilisation+apart || l.Utilisation > furthest {
			continue
		}
		p := min(intercept(l, h), lowest)
		if l.Utilisation < quiet {
			return p, "learned from quiet intervals"
		}
		return p, fmt.Sprintf("extrapolated from intervals at %d%% and %d%% utilisation, likely too high",
			l.Utilisation/10_000, h.Utilisation/10_000)
	}
	if l.Utilisation < quiet {
		return lowest, "learned from quiet intervals"
	}
	return 0, "not learned yet: the zone was never quiet, nor at two levels of utilisation"
}

// intercept is where the line through two points meets zero utilisation; 0 if
// it meets it below zero power.
func intercept(l, h Level) Microwatts {
	if h.Power <= l.Power {
		return h.Power // does not depend on utilisation
	}
	hi, lo := bits.Mul64(uint64(h.Power-l.Power), l.Utilisation)
	cost, _ := bits.Div64(hi, lo, h.Utilisation-l.Utilisation) // both powers < 2^37, ppm < 2^20
	if cost >= uint64(l.Power) {
		return 0
	}
	return l.Power - Microwatts(cost)
}

// State exports what was learned.
func (b *Baseline) State() BaselineState {
	return BaselineState{Usual: b.usual, Levels: append([]Level(nil), b.levels[:]...)}
}

// Restore replaces what was learned. A state that makes no sense is refused
// with an error and changes nothing.
func (b *Baseline) Restore(s BaselineState) error {
	if len(s.Levels) != levelCount || s.Usual < 0 {
		return errors.New("energy: baseline state is of another version; it will be learned anew")
	}
	for i, l := range s.Levels {
		if l.Utilisation > whole || l.Power > absurd || l.Seen < 0 || l.Seen > rise {
			return fmt.Errorf("energy: baseline state: level %d makes no sense (%d ppm, %d µW, %v); it will be learned anew",
				i, l.Utilisation, l.Power, l.Seen)
		}
	}
	b.usual = s.Usual
	copy(b.levels[:], s.Levels)
	return nil
}

// meanPower is energy over time, and whether it fits.
func meanPower(e Microjoules, d time.Duration) (Microwatts, bool) {
	if d <= 0 {
		return 0, false
	}
	hi, lo := bits.Mul64(uint64(e), uint64(time.Second))
	if hi >= uint64(d) {
		return 0, false
	}
	p, _ := bits.Div64(hi, lo, uint64(d))
	return Microwatts(p), true
}

// utilisation in ppm, at most whole.
func utilisation(busy, elapsed time.Duration, cpus int) uint64 {
	hi, lo := bits.Mul64(uint64(busy), whole)                   // #nosec G115 -- busy >= 0
	over, capacity := bits.Mul64(uint64(elapsed), uint64(cpus)) // #nosec G115 -- both > 0
	if over != 0 || hi >= capacity {
		return whole * uint64(min(1, hi))
	}
	u, _ := bits.Div64(hi, lo, capacity)
	return min(u, whole)
}

// towards moves from a to b by num/den of the way, and by at least 1 if any.
func towards(a, b, num, den uint64) uint64 {
	gap := max(a, b) - min(a, b)
	hi, lo := bits.Mul64(gap, num)
	step, _ := bits.Div64(hi, lo, den) // num <= den
	if step == 0 && gap > 0 && num*4 >= den {
		step = 1
	}
	if b > a {
		return a + step
	}
	return a - step
}
