package cgroupfs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"
)

var (
	errCutShort = errors.New("is cut short")
	errRange    = errors.New("holds a number out of range")
)

// whole refuses what does not end with a line's end.
func whole(b []byte) error {
	if len(b) == 0 || b[len(b)-1] != '\n' {
		return errCutShort
	}
	return nil
}

func malformed(b []byte) error {
	return fmt.Errorf("is malformed at %q", b[:min(len(b), 40)])
}

// number takes decimal digits up to 2^63-1.
func number(b []byte) (uint64, error) {
	if len(b) == 0 {
		return 0, malformed(b)
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, malformed(b)
		}
		d := uint64(c - '0')
		if n > (math.MaxInt64-d)/10 {
			return 0, errRange
		}
		n = 10*n + d
	}
	return n, nil
}

// scaled is a number in a smaller unit.
func scaled(b []byte, unit uint64) (uint64, error) {
	n, err := number(b)
	if err == nil && n > math.MaxInt64/unit {
		err = errRange
	}
	return n * unit, err
}

// single is a file of one number.
func single(b []byte) (uint64, error) {
	if err := whole(b); err != nil {
		return 0, err
	}
	return number(b[:len(b)-1])
}

// limit is a file of one number or "max", which is 0.
func limit(b []byte) (uint64, error) {
	if string(b) == "max\n" {
		return 0, nil
	}
	return single(b)
}

// line cuts "KEY VALUE\n" off.
func line(b []byte) (key, value, rest []byte, err error) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return nil, nil, nil, errCutShort
	}
	key, value, ok := bytes.Cut(b[:end], []byte{' '})
	if !ok {
		return nil, nil, nil, malformed(b)
	}
	return key, value, b[end+1:], nil
}

// throttling of cpu.stat: none without the cpu controller.
func throttling(b []byte) (t Throttle, ok bool, err error) {
	if err := whole(b); err != nil {
		return t, false, err
	}
	found := 0
	for len(b) > 0 {
		var key, value []byte
		var n uint64
		if key, value, b, err = line(b); err != nil {
			return t, false, err
		}
		switch string(key) {
		case "nr_throttled":
			n, err = number(value)
			t.Periods = n
			found++
		case "throttled_usec":
			n, err = scaled(value, uint64(time.Microsecond))
			t.Time = time.Duration(n) // #nosec G115 -- scaled bounds it
			found++
		}
		if err != nil {
			return t, false, err
		}
	}
	if found == 1 {
		return t, false, errCutShort
	}
	return t, found != 0, nil
}

// memoryStat is what is taken of memory.stat.
type memoryStat struct{ inactiveFile, reclaimed, refaults uint64 }

func parseMemoryStat(b []byte, page uint64) (m memoryStat, err error) {
	if err := whole(b); err != nil {
		return m, err
	}
	found := false
	for len(b) > 0 {
		var key, value []byte
		var n uint64
		if key, value, b, err = line(b); err != nil {
			return m, err
		}
		switch string(key) {
		case "inactive_file":
			m.inactiveFile, err = number(value)
			found = true
		case "pgsteal":
			m.reclaimed, err = scaled(value, page)
		// One figure before Linux 5.9, two since.
		case "workingset_refault", "workingset_refault_anon", "workingset_refault_file":
			n, err = number(value)
			m.refaults = saturated(m.refaults, n)
		}
		if err != nil {
			return m, err
		}
	}
	if !found {
		return m, errors.New("does not say inactive_file")
	}
	return m, nil
}

// memoryEvents is what is taken of memory.events.
type memoryEvents struct{ high, max, oomKills uint64 }

func parseMemoryEvents(b []byte) (m memoryEvents, err error) {
	if err := whole(b); err != nil {
		return m, err
	}
	found := false
	for len(b) > 0 {
		var key, value []byte
		if key, value, b, err = line(b); err != nil {
			return m, err
		}
		switch string(key) {
		case "high":
			m.high, err = number(value)
		case "max":
			m.max, err = number(value)
		case "oom_kill":
			m.oomKills, err = number(value)
			found = true
		}
		if err != nil {
			return m, err
		}
	}
	if !found {
		return m, errors.New("does not say oom_kill")
	}
	return m, nil
}

// parsePressure takes the totals, which are in microseconds.
func parsePressure(b []byte) (p Pressure, err error) {
	if err := whole(b); err != nil {
		return p, err
	}
	found := false
	for len(b) > 0 {
		var key, value []byte
		if key, value, b, err = line(b); err != nil {
			return p, err
		}
		_, total, ok := bytes.Cut(value, []byte("total="))
		if !ok {
			return p, malformed(value)
		}
		n, err := scaled(total, uint64(time.Microsecond))
		if err != nil {
			return p, err
		}
		switch string(key) {
		case "some":
			p.Some, found = time.Duration(n), true // #nosec G115 -- scaled bounds it
		case "full":
			p.Full = time.Duration(n) // #nosec G115
		}
	}
	if !found {
		return p, errCutShort
	}
	return p, nil
}

// counter goes on where a file's own count starts again.
type counter struct{ last, before uint64 }

// take is the cumulative figure, given what the file says now. A count that went
// back starts again from there; where that is no surprise, since the controller
// was off meanwhile, from zero.
func (c *counter) take(now uint64, restarted bool) (figure uint64, wentBack bool) {
	if now < c.last {
		had := saturated(c.before, c.last)
		if restarted {
			c.before = had
		} else {
			c.before = had - now
			wentBack = true
		}
	}
	c.last = now
	return saturated(c.before, now), wentBack
}

// saturated is a sum up to 2^63-1; neither of the two is above it.
func saturated(a, b uint64) uint64 { return min(a+b, math.MaxInt64) }
