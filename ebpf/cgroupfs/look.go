package cgroupfs

import (
	"errors"
	"os"
	"time"
)

// took is the second half of a look at a file, its counts in pairs of counter
// and value; each value becomes the figure.
func (r *Reader) took(f file, counts ...pair) error {
	restarted := r.again[f]
	r.again[f] = false
	var err error
	for _, c := range counts {
		figure, wentBack := c.counter.take(*c.value, restarted)
		if wentBack {
			err = r.says(f, errors.New("went back; its figures go on from there"))
		}
		*c.value = figure
	}
	return err
}

type pair struct {
	counter *counter
	value   *uint64
}

func (r *Reader) throttle(t *Throttle) (bool, error) {
	if r.calm {
		return false, nil
	}
	b, err := r.content(cpuStat)
	if b == nil || err != nil {
		return false, err
	}
	got, ok, err := throttling(b)
	if err != nil {
		return false, r.says(cpuStat, err)
	}
	if !ok {
		// This file stays when its controller goes.
		r.again[cpuStat], r.calm = true, true
		return false, nil
	}
	ns := uint64(got.Time) // #nosec G115 -- not negative
	err = r.took(cpuStat, pair{&r.periods, &got.Periods}, pair{&r.throttled, &ns})
	*t = Throttle{Periods: got.Periods, Time: time.Duration(ns)} // #nosec G115 -- take bounds it
	return true, err
}

// limits are what moves slowly.
type limits struct{ peak, max uint64 }

func (r *Reader) memory(m *Memory, due bool) (bool, error) {
	slow := &r.limits
	if due {
		*slow = limits{}
	}
	for _, v := range []struct {
		file file
		to   *uint64
		read func([]byte) (uint64, error)
		skip bool
	}{
		{memoryCurrent, &m.Current, single, false}, {memorySwap, &m.Swap, single, false},
		{memoryPeak, &slow.peak, single, !due}, {memoryMax, &slow.max, limit, !due},
	} {
		if v.skip {
			continue
		}
		b, err := r.content(v.file)
		if err != nil {
			return false, err
		}
		if b == nil {
			if v.file == memoryCurrent {
				return false, nil
			}
			continue
		}
		if *v.to, err = v.read(b); err != nil {
			r.retry = true
			return false, r.says(v.file, err)
		}
	}
	if m.Max = slow.max; r.fds[memoryPeak] >= 0 {
		slow.peak = max(slow.peak, m.Current)
		m.Peak = slow.peak
	}
	b, err := r.content(memoryStats)
	if b == nil || err != nil {
		return false, err
	}
	stat, err := parseMemoryStat(b, uint64(os.Getpagesize())) // #nosec G115 -- positive
	if err != nil {
		return false, r.says(memoryStats, err)
	}
	b, err = r.content(memoryEvent)
	if b == nil || err != nil {
		return false, err
	}
	events, err := parseMemoryEvents(b)
	if err != nil {
		return false, r.says(memoryEvent, err)
	}
	err = errors.Join(
		r.took(memoryStats, pair{&r.reclaimed, &stat.reclaimed}, pair{&r.refaults, &stat.refaults}),
		r.took(memoryEvent, pair{&r.high, &events.high}, pair{&r.max, &events.max}, pair{&r.oomKills, &events.oomKills}))
	m.WorkingSet = m.Current - min(m.Current, stat.inactiveFile)
	m.Reclaimed, m.Refaults = stat.reclaimed, stat.refaults
	m.AtHigh, m.AtMax, m.OOMKills = events.high, events.max, events.oomKills
	return true, err
}

func (r *Reader) pressure(i int, p *Pressure) (bool, error) {
	f := cpuPressure + file(i)
	b, err := r.content(f)
	if b == nil || err != nil {
		return false, err
	}
	got, err := parsePressure(b)
	if err != nil {
		return false, r.says(f, err)
	}
	some, full := uint64(got.Some), uint64(got.Full) // #nosec G115 -- not negative
	err = r.took(f, pair{&r.some[i], &some}, pair{&r.full[i], &full})
	*p = Pressure{Some: time.Duration(some), Full: time.Duration(full)} // #nosec G115 -- take bounds them
	return true, err
}
