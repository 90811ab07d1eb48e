package store

import (
	"math"
	"slices"
	"time"
)

// The widths at which points are kept.
const (
	Second = time.Second // in memory, for an hour; really the caller's interval
	Minute = time.Minute
	Hour   = time.Hour
)

// Series returns what was used between from and to, oldest first: points that
// overlap that time, of the accounts named (none: all). A zero from is the
// beginning, a zero to the end.
//
// With a step wider than the stored points they are added up, aligned to
// multiples of step since 1970; otherwise they come as they are. A step of zero
// lets Series choose by the length of time. resolution is the width of the
// stored points that were used: the finest that step allows and that reaches
// back to from, or as far as anything does.
//
// Wall clocks are those of the boot's latest plausible clock, so that points
// recorded before the clock was set show when they really were.
func (s *Store) Series(from, to time.Time, step time.Duration, accounts []string) (points []Point, resolution time.Duration, err error) {
	q := query{from: wallNanoseconds(from), to: math.MaxInt64, step: max(step, 0)}
	if from.IsZero() {
		q.from = math.MinInt64
	}
	if !to.IsZero() {
		q.to = wallNanoseconds(to)
	}
	if len(accounts) > 0 {
		q.want = func(name string) bool { return slices.Contains(accounts, name) }
	}
	view, err := s.view()
	if err != nil {
		return nil, 0, err
	}
	defer s.releasePages()
	if err := view.readBoots(); err != nil {
		return nil, 0, err
	}

	resolution = q.resolution(view)
	for finer := true; finer; {
		finer = false
		oldest, err := view.oldest(resolution, q)
		if err != nil {
			return nil, 0, err
		}
		if resolution < Hour && oldest > q.from {
			coarser := Minute
			if resolution == Minute {
				coarser = Hour
			}
			older, err := view.oldest(coarser, q)
			if err != nil {
				return nil, 0, err
			}
			// Older by more than the width itself, which begins earlier anyway.
			if older < oldest-int64(coarser) || oldest == math.MaxInt64 {
				resolution, finer = coarser, true
			}
		}
	}
	points, err = view.collect(resolution, q)
	return points, resolution, err
}

type query struct {
	from, to int64 // wall clock, ns
	step     time.Duration
	want     func(string) bool
}

func (q query) resolution(v *view) time.Duration {
	step := q.step
	if step == 0 {
		end := min(q.to, v.now)
		switch span := time.Duration(end - q.from); {
		case q.from > end || span <= 15*time.Minute && span >= 0:
			return Second
		case span <= 24*time.Hour && span >= 0:
			return Minute
		}
		return Hour
	}
	switch {
	case step < Minute:
		return Second
	case step < Hour:
		return Minute
	}
	return Hour
}
