package store

import (
	"testing"
	"time"
)

// total sums what a series says of an account.
func total(points []Point, account string) (u Usage, covered time.Duration) {
	for _, p := range points {
		covered += p.Covered
		for _, v := range p.Values {
			if v.Account == account {
				u.add(v.Usage)
			}
		}
	}
	return u, covered
}

func appendSeconds(t *testing.T, s *Store, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := s.Append(second(n), ledgerOf(uint64(n))); err != nil {
			t.Fatal(err)
		}
	}
}

func series(t *testing.T, s *Store, from, to time.Time, step time.Duration) ([]Point, time.Duration) {
	t.Helper()
	points, resolution, err := s.Series(from, to, step, nil)
	if err != nil {
		t.Fatal(err)
	}
	return points, resolution
}

func TestSeriesAcrossResolutions(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := mustOpen(t, cfg)
	const seconds = 3 * 3600
	appendSeconds(t, s, 0, seconds)
	begin := second(0).Start

	var all uint64
	for n := range seconds {
		all += uint64(n)
	}
	check := func(s *Store, step, resolution time.Duration, n int) {
		t.Helper()
		points, r := series(t, s, begin, time.Time{}, step)
		u, covered := total(points, "agent-b")
		if r != resolution || len(points) != n || u.Energy[pkg0] != all || covered != seconds*time.Second {
			t.Errorf("step %v: %d points of %v, %d µJ over %v; want %d of %v, %d µJ over %v",
				step, len(points), r, u.Energy[pkg0], covered, n, resolution, all, seconds*time.Second)
		}
		for i := 1; i < len(points); i++ {
			if !points[i-1].Start.Before(points[i].Start) {
				t.Fatalf("step %v: point %d is not after the one before", step, i)
			}
		}
	}
	for range 2 {
		check(s, time.Minute, Minute, 180)
		check(s, 30*time.Minute, Minute, 6)
		check(s, time.Second, Minute, 180) // the ring is an hour long, the minutes reach back
		// Hours of the boot, and the running one in minutes.
		points, r := series(t, s, begin, time.Time{}, 24*time.Hour)
		if u, _ := total(points, "agent-b"); r != Hour || u.Energy[pkg0] != all {
			t.Errorf("a day: %v, %d µJ of %d", r, u.Energy[pkg0], all)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, cfg)
	}
	if st := s.Stats(); st.Hours != 2 {
		t.Errorf("%d hours stored, want the 2 that are over", st.Hours)
	}
	if r, err := s.Check(); err != nil || len(r.Problems) > 0 {
		t.Error(r, err)
	}
}

func TestSeriesOfSeconds(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, testConfig(t))
	appendSeconds(t, s, 0, 4000)
	points, r := series(t, s, second(3900).Start, second(3950).Start, 0)
	if r != Second || len(points) != 50 || points[0].Values[0].Usage.CPU != 3900 {
		t.Fatalf("%d points of %v", len(points), r)
	}
	points, r = series(t, s, second(3900).Start, time.Time{}, 10*time.Second)
	if r != Second || len(points) != 10 {
		t.Fatalf("%d points of %v", len(points), r)
	}
	if points, _, err := s.Series(second(3900).Start, second(4000).Start, 0, []string{"nobody"}); err != nil || len(points) != 100 || len(points[0].Values) != 0 {
		t.Fatalf("an unknown account: %d points, %v", len(points), err)
	}
}

func TestMinuteAcrossRestartsIsAdded(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	for n := range 10 { // ten restarts within a minute
		s := mustOpen(t, cfg)
		appendSeconds(t, s, n, n+1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, cfg)
	points, _ := series(t, s, second(0).Start, time.Time{}, time.Minute)
	u, covered := total(points, "agent-b")
	if covered != 10*time.Second || u.Switches != 10 || u.CPU != 45 {
		t.Fatalf("%+v over %v", u, covered)
	}
}

func TestClockJumps(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := mustOpen(t, cfg)
	at := func(n int, wall time.Time) Point {
		p := second(n)
		p.Start = wall
		return p
	}
	for n := range 7200 {
		p := second(n)
		switch n / 1800 {
		case 0: // no clock yet
			p = at(n, time.Unix(int64(n), 0))
		case 2: // a bad time server
			p = at(n, time.Date(2099, 1, 1, 0, 0, n, 0, time.UTC))
		}
		if n%1000 == 0 {
			p = at(n, time.Time{}) // year 1
		}
		if err := s.Append(p, ledgerOf(uint64(n))); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		points, _ := series(t, s, second(0).Start.Add(-time.Minute), second(7200).Start, time.Minute)
		if _, covered := total(points, "agent-b"); covered != 7200*time.Second {
			t.Errorf("%v of two hours are in their place once the clock is right", covered)
		}
		if st := s.Stats(); st.Dropped != 0 || st.Minutes+uint64(st.Pending) != 120 {
			t.Errorf("%d minutes and %d waiting, %d dropped", st.Minutes, st.Pending, st.Dropped)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.BootID = "boot-2" // and the next boot still knows
		s = mustOpen(t, cfg)
	}
}
