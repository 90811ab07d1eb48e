package energy

import "time"

// jitter is how far the moment of reading a counter may lie from Activity.At,
// on a machine too busy to run us: added to an interval when judging whether
// its energy is plausible.
const jitter = time.Second

// burst is the factor between recent mean power and what a doubtful gain may
// claim.
const burst = 4

// enoughDoubts is how many doubtful values in a row discredit a rating.
const enoughDoubts = 4

// counter turns the raw values of one energy_uj file into a total that never
// goes back. It is pure: values, times and bounds come in.
//
// A value may be lower than the one before because the counter wrapped, was
// reset, or the reading is wrong; it may be much higher because of the last.
// What tells them apart is how much energy each explanation claims for the
// time that passed, against the most the zone can draw:
//
//   - up, or down by a wrap, within the bound: counted;
//   - else the value is held in doubt and nothing is counted. If the next
//     value is plausible from the one before the doubt, the doubtful one was
//     wrong, and nothing was lost. If it is plausible from the doubtful one and
//     has moved up from it, the counter was reset: counting goes on from the
//     doubtful value, and what passed around the reset is not counted.
//
// After lost readings much time has passed, and with it the bound has grown so
// that most resets look like wraps, and most values like drawn energy. What a
// wrap or a reset claims then is credited only up to what recent mean power
// makes likely.
//
// So a total may lag the truth; it can exceed it by no more than the bound of
// one interval, when a reset happens to look like a wrap.
type counter struct {
	span  Microjoules // max_energy_range_uj: the values are below it; 0 = not known
	limit Microwatts  // the most the zone can draw, as rated
	// ceiling is the limit instead once nothing but doubt says that the rating
	// is wrong; 0 if there is none.
	ceiling Microwatts

	known   bool          // value, moved and asleep are set
	value   Microjoules   // last accepted
	moved   time.Duration // when value was first seen
	asleep  time.Duration // Activity.Suspended then
	doubt   bool          // doubted and since are set
	doubted Microjoules
	doubts  int           // in a row
	since   time.Duration // when it was seen
	gone    bool          // the zone itself vanished since value was read
	mean    Microwatts    // recent, from intervals without doubt; 0 = not known
	total   Microjoules
	state   State
	warning string // about the latest reading
	delta   Microjoules
	elapsed time.Duration // the time that delta took

	wraps, resets, faults uint64
}

// bound is the most energy that can have been used in d.
func (c *counter) bound(d time.Duration) Microjoules {
	return c.limit.Over(max(d, 0) + jitter)
}

// likely is the part of gained to credit where it may not be energy at all.
// Without a mean no interval was ever good, and none says how long is usual.
func (c *counter) likely(gained Microjoules, d time.Duration) Microjoules {
	most := c.limit.Over(min(d, jitter))
	if c.mean > 0 {
		most = (burst * c.mean).Over(d)
	}
	return min(gained, most)
}

// learn follows the mean power.
func (c *counter) learn(gained Microjoules, awake time.Duration) {
	power, ok := meanPower(gained, awake)
	switch {
	case !ok:
	case c.mean == 0:
		c.mean = power
	default:
		c.mean = Microwatts(towards(uint64(c.mean), uint64(power), 1, 8))
	}
}

// beyond reports whether no counter of this range can show value.
func (c *counter) beyond(value Microjoules) bool { return c.span > 0 && value > c.span }

// take judges the value read at time at, when the machine had been suspended
// for asleep in all.
func (c *counter) take(value Microjoules, at, asleep time.Duration) {
	c.warning, c.delta = "", 0
	if c.beyond(value) {
		c.refuse("energy_uj is beyond max_energy_range_uj")
		return
	}
	if !c.known {
		c.known, c.gone, c.state = true, false, Fresh
		c.value, c.moved, c.asleep = value, at, asleep
		return
	}
	// A zone that was registered anew, or whose package was powered down, has
	// started anew if it is lower.
	anew := (c.gone || asleep > c.asleep) && value < c.value
	c.gone = false
	switch {
	case anew:
		c.restart(value, at, asleep)
		c.warning = "the zone came back with a lower counter; what passed in between is not counted"
	case c.advance(value, at, asleep):
	case c.doubt && value > c.doubted && value-c.doubted <= c.bound(at-c.since):
		took := at - c.since
		gained := c.likely(value-c.doubted, took)
		c.restart(value, at, asleep)
		c.credit(gained, took)
		c.warning = "the counter was reset; what passed around it is not counted"
	default:
		if !c.doubt || value != c.doubted {
			c.doubt, c.doubted, c.since = true, value, at
		}
		if c.doubts++; c.doubts >= enoughDoubts {
			c.limit = max(c.limit, c.ceiling)
		}
		c.refuse("the counter went back, or jumped further than the zone can draw")
	}
}

// advance accepts value if it is plausible from the last accepted one.
func (c *counter) advance(value Microjoules, at, asleep time.Duration) bool {
	elapsed := at - c.moved
	awake := max(elapsed-max(asleep-c.asleep, 0), 0)
	wrapped := value < c.value
	gained := value - c.value
	if wrapped {
		// A small step back is none: it would be nearly the whole range.
		if c.value-value < c.span/16 || value > c.span || c.value > c.span {
			return false
		}
		// The hardware counts 2^32 units and max_energy_range_uj is one unit
		// (15 to 61 µJ) less; that much is lost at each wrap.
		gained = c.span - c.value + value
	}
	if gained > c.bound(awake) {
		return false
	}
	c.doubt, c.doubts = false, 0
	if gained == 0 && !wrapped {
		c.state = Fresh
		if elapsed > 0 {
			c.state = Stale
		}
		return true
	}
	if wrapped {
		c.wraps++
	}
	lost := c.state == Lost
	if c.span > 0 && c.limit.Over(awake) >= c.span {
		c.faults++
		c.warning = "the interval was so long that the counter may have wrapped unseen; the total is a lower bound"
	}
	if !lost {
		c.learn(gained, awake)
	} else if most := c.likely(gained, awake); wrapped && gained > most {
		gained = most
		c.faults++
		c.warning = "the counter came back lower after lost readings, by a wrap or a reset: counted at no more than four times the recent power; the total is a lower bound"
	}
	c.value, c.moved, c.asleep, c.state = value, at, asleep, Fresh
	c.credit(gained, elapsed)
	return true
}

// restart counts on from value, without crediting what led to it.
func (c *counter) restart(value Microjoules, at, asleep time.Duration) {
	c.resets++
	c.doubt, c.doubts, c.state = false, 0, Fresh
	c.value, c.moved, c.asleep = value, at, asleep
}

func (c *counter) credit(gained Microjoules, elapsed time.Duration) {
	c.total, c.delta, c.elapsed = c.total+gained, gained, elapsed
}

// refuse counts a reading that failed or made no sense.
func (c *counter) refuse(why string) {
	c.faults++
	c.state, c.warning, c.delta = Lost, why, 0
}

// age is the time since the total last moved.
func (c *counter) age(at time.Duration) time.Duration {
	if !c.known {
		return 0
	}
	return max(at-c.moved, 0)
}
