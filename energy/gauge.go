package energy

import (
	"math"
	"time"
)

const (
	// leap is the least rise of a gauge, in µW, that can be a jump.
	leap = Microwatts(50_000_000)
	// bridged is the longest time between two readings of a gauge that is
	// counted even if readings are usually closer.
	bridged = time.Minute
	// memory is how many readings the sampling error is averaged over.
	memory = 16
)

// gauge integrates the readings of a power sensor into a total that never goes
// back. It is pure: values, times and bounds come in.
//
// Between two readings the mean of both is counted, for the time that the
// machine was awake. How far that can be wrong is told from the readings: if
// power went from one value to the other in one step, at a moment of which
// nothing is known, the standard deviation of the energy is the step × the
// time ÷ √12. What comes and goes between two readings leaves no trace in
// them: sensors that average (powerN_average) see it, others do not.
//
// A value beyond the bound is refused. One that leaps, and that no rating
// explains, is held in doubt until the next reading: if that is as high, both
// count, and nothing was lost; else the leap was an error. Longer than usual
// without a reading (four times, and at least a minute), nothing is counted:
// nobody knows what was drawn.
type gauge struct {
	rated   Microwatts // the most that is drawn for long; 0 = not known
	limit   Microwatts // the most the zone can draw
	ceiling Microwatts // the limit once nothing but doubt says that the rating is wrong

	seen  bool // read or paused, ever
	known bool // last is set
	last  point
	doubt bool // held is set
	held  point
	highs int // readings beyond the limit, in a row

	usual   time.Duration // between readings, smoothed
	rest    uint64        // µW·ns below a microjoule, twice
	total   Microjoules
	moved   time.Duration
	state   State
	warning string
	faults  uint64
	resets  uint64 // counting began anew

	energy, variance float64 // of recent intervals, in µJ and µJ²
}

// point is one reading.
type point struct {
	power      Microwatts
	at, asleep time.Duration
}

// take judges the power read at time at, when the machine had been suspended
// for asleep in all.
func (g *gauge) take(power Microwatts, at, asleep time.Duration) {
	g.warning = ""
	now := point{power, at, asleep}
	switch {
	case power > g.limit:
		if g.highs++; g.highs >= enoughDoubts {
			g.limit = max(g.limit, g.ceiling)
		}
		g.refuse("shows more power than the zone can draw")
		return
	case !g.known:
		if g.seen {
			g.resets++
		}
		g.start(now)
		return
	case g.doubt && power >= g.held.power/2 && power <= burst*g.held.power:
		g.advance(g.held)
	case g.leaps(power):
		g.doubt, g.held = true, now
		g.refuse("jumped; counted once the next reading confirms it")
		return
	}
	g.advance(now)
}

// leaps reports whether power is so much more than before that one reading is
// not enough to believe it.
func (g *gauge) leaps(power Microwatts) bool {
	return power > burst*g.last.power && power-g.last.power > leap && power > g.rated
}

// start counts on from now, without crediting what led to it.
func (g *gauge) start(now point) {
	if !g.seen {
		g.moved = now.at
	}
	g.seen, g.known, g.doubt, g.highs = true, true, false, 0
	g.last, g.state = now, Fresh
}

// advance counts the energy between the last point and now.
func (g *gauge) advance(now point) {
	before := g.last
	awake := max(now.at-before.at-max(now.asleep-before.asleep, 0), 0)
	tooLong := awake > max(bridged, 4*g.usual) && g.usual > 0
	g.follow(awake)
	g.start(now)
	if tooLong {
		g.faults++
		g.resets++
		g.warning = "too long without a reading: what was drawn is not counted"
		return
	}
	gained := integrate(before.power+now.power, awake, 2, &g.rest)
	g.total += gained
	g.moved = max(g.moved, now.at)
	step := (float64(now.power) - float64(before.power)) * awake.Seconds()
	g.energy += float64(gained) - g.energy/memory
	g.variance += step*step/12 - g.variance/memory
}

// follow learns the usual time between readings.
func (g *gauge) follow(awake time.Duration) {
	if g.usual == 0 {
		g.usual = awake
		return
	}
	g.usual += (min(awake, 4*g.usual) - g.usual) / 8
}

// pause says that for now the sensor does not show what the zone draws; it is
// no fault. Counting starts anew with the next reading.
func (g *gauge) pause(why string, at time.Duration) {
	if !g.seen {
		g.seen, g.moved = true, at
	}
	g.known, g.doubt = false, false
	g.state, g.warning = Stale, why
}

// refuse counts a reading that failed or made no sense.
func (g *gauge) refuse(why string) {
	g.faults++
	g.state, g.warning = Lost, why
}

// sampling is the relative standard deviation of recent energy that comes from
// looking only now and then.
func (g *gauge) sampling() float64 {
	if g.energy <= 0 {
		return 0
	}
	return min(1, math.Sqrt(g.variance)/g.energy)
}

// age is the time since the total was last brought up to date.
func (g *gauge) age(at time.Duration) time.Duration {
	if !g.seen {
		return 0
	}
	return max(at-g.moved, 0)
}
