package store

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"
)

// dirBytes is all that a store has in its directory.
func dirBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil {
			n += fi.Size()
		}
	}
	return n
}

// TestAYearKeepsToTheCap appends a year, a minute in ten, under a cap that is
// too small for what is to be kept, restarts now and then, and
// lets the clock jump by years.
func TestAYearKeepsToTheCap(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Dir, cfg.noSync, cfg.MaxBytes = memoryDir(t), true, 4<<20
	cfg.CommitEvery = 365 * 24 * time.Hour
	s := mustOpen(t, cfg)
	s.live.path = ""
	f := newFleet(5)
	const every = 10
	p, l := f.next()
	for minute := 0; minute < 365*24*60; minute += every {
		p.Boottime, p.Covered = time.Duration(minute)*time.Minute, time.Minute
		p.Start = time.Unix(1_800_000_000+int64(minute)*60, 0)
		switch minute / 1440 % 50 {
		case 10:
			p.Start = time.Unix(int64(minute), 0)
		case 20:
			p.Start = time.Date(2099, 1, 1, 0, minute, 0, 0, time.UTC)
		}
		if minute%30 == 0 {
			p.Values, l = randomised(f)
		}
		if err := s.Append(p, l); err != nil {
			t.Fatal(err)
		}
		if minute%(20*every) != 0 {
			continue
		}
		if err := s.Commit(); err != nil {
			t.Fatal(err)
		}
		if minute%14400 == 0 {
			if n := dirBytes(t, cfg.Dir); n > cfg.MaxBytes {
				t.Fatalf("day %d: %d bytes", minute/1440, n)
			}
		}
		if minute%(20*1440) == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, cfg)
			s.live.path = ""
		}
	}
	st := s.Stats()
	t.Logf("%d minutes, %d hours, %d dropped, %d bytes", st.Minutes, st.Hours, st.Dropped, st.FileBytes)
	if st.Dropped == 0 || st.CommitsFailed != 0 {
		t.Errorf("%+v", st)
	}
	if st.Hours < 365*24/2 {
		t.Errorf("%d hours are left: minutes should have gone first", st.Hours)
	}
	if r, err := s.Check(); err != nil || len(r.Problems) > 0 {
		t.Error(r, err)
	}
	// The end of the year is there, in minutes as far as they reach.
	end := time.Unix(1_800_000_000+365*86400, 0)
	points, r := series(t, s, end.Add(-time.Hour), time.Time{}, time.Minute)
	if _, covered := total(points, "system"); r != Minute || covered < 5*time.Minute {
		t.Errorf("%v of the last hour, by %v", covered, r)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// A lower cap makes the file smaller, and loses the oldest only.
	cfg.MaxBytes = MinMaxBytes
	s = mustOpen(t, cfg)
	if n := dirBytes(t, cfg.Dir); n > cfg.MaxBytes {
		t.Errorf("%d bytes after the cap was lowered to %d", n, cfg.MaxBytes)
	}
	ledger, err := s.Ledger()
	if err != nil || ledger.Sequence != l.Sequence {
		t.Errorf("sequence %d of %d, %v", ledger.Sequence, l.Sequence, err)
	}
	if r, err := s.Check(); err != nil || len(r.Problems) > 0 {
		// The counts differ until the next commit only if shrinking dropped them.
		if err := s.Commit(); err != nil {
			t.Fatal(err)
		}
		if r, err = s.Check(); err != nil || len(r.Problems) > 0 {
			t.Error(r.Problems, err)
		}
	}
}

// randomised is the next values of a fleet.
func randomised(f *fleet) ([]Value, Ledger) {
	p, l := f.next()
	return p.Values, l
}

func TestPointsAreKeptByNumber(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Minutes, cfg.Hours, cfg.noSync = 100, 10, true
	for boot := range 30 { // a device that starts often, each time in 1970
		cfg.BootID = fmt.Sprint("boot-", boot)
		s := mustOpen(t, cfg)
		for minute := range 70 {
			p := second(0)
			p.Boottime, p.Start = time.Duration(minute)*time.Minute+1, time.Unix(int64(minute)*60, 0)
			if err := s.Append(p, ledgerOf(uint64(boot*70+minute))); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Check(cfg.Dir)
	if err != nil || len(r.Problems) > 0 {
		t.Fatal(r.Problems, err)
	}
	if r.Minutes < 100 || r.Minutes > 160+fileAfter || r.Hours < 10 || r.Hours > 70+1 || r.Boots > 40 {
		t.Fatalf("%+v", r)
	}
}

func TestRingKeepsAnHour(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	r := ring{maxBytes: DefaultRingBytes}
	f := newFleet(51) // 55 accounts, 3 zones
	for range 2 * 3600 {
		p, _ := f.next()
		if err := r.add(c, head{boottime: p.Boottime, covered: p.Covered}, p.Values); err != nil {
			t.Fatal(err)
		}
	}
	span := time.Duration(f.n)*time.Second - r.blocks[0].first
	t.Logf("%v in %d bytes, %d points dropped early", span, r.bytes, r.dropped)
	if r.bytes > DefaultRingBytes || span < 50*time.Minute || span > 63*time.Minute {
		t.Errorf("%v in %d bytes", span, r.bytes)
	}
	// Quiet accounts take nearly nothing, and the hour is whole.
	r = ring{maxBytes: DefaultRingBytes}
	for n := range 2 * 3600 {
		p := second(n)
		if err := r.add(c, head{boottime: p.Boottime, covered: p.Covered}, p.Values); err != nil {
			t.Fatal(err)
		}
	}
	if span := 2*time.Hour - r.blocks[0].first; r.dropped != 0 || span < time.Hour || r.bytes > 100<<10 {
		t.Errorf("quiet: %v in %d bytes, %d dropped", span, r.bytes, r.dropped)
	}
}

func TestQuarantineCountsAgainstTheCap(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxBytes = MinMaxBytes
	junk := make([]byte, 900<<10)
	if err := os.WriteFile(filepath.Join(cfg.Dir, FileName), junk, 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, cfg)
	if st := s.Stats(); st.Quarantines != 1 || dirBytes(t, cfg.Dir) > cfg.MaxBytes {
		t.Errorf("%+v", st)
	}
}

// TestTheCapNeverFailsAppend lowers the cap below what a running store has, and
// gives it far more accounts than it has pages for.
func TestTheCapNeverFailsAppend(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Dir, cfg.noSync = memoryDir(t), true
	s := mustOpen(t, cfg)
	f := newFleet(20)
	appends := func(n int) (last Ledger) {
		for range n {
			f.n += 59
			p, l := f.next()
			if err := s.Append(p, l); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(); err != nil {
				t.Fatal(err)
			}
			last = l
		}
		return last
	}
	appends(1500)
	size := dirBytes(t, cfg.Dir)
	s.mu.Lock()
	s.cfg.MaxBytes = size
	s.mu.Unlock()
	big := newFleet(400)
	big.n, f = f.n, big
	last := appends(200)
	if n := dirBytes(t, cfg.Dir); n > size {
		t.Errorf("%d bytes under a cap of %d", n, size)
	}
	if st := s.Stats(); st.Dropped == 0 || st.CommitsFailed != 0 {
		t.Errorf("%+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Check(cfg.Dir)
	if err != nil || len(r.Problems) > 0 || r.Accounts != len(last.Accounts) {
		t.Fatal(r, err)
	}
}

func TestMakingRoomDropsTheOldest(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, testConfig(t))
	for n := range 200 {
		p := second(0)
		p.Boottime, p.Start = time.Duration(n+1)*time.Minute, time.Unix(1_800_000_000+60*int64(n), 0)
		if err := s.Append(p, ledgerOf(uint64(n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	err, waiting := s.writeFull(fmt.Errorf("for the test: %w", bolterrors.ErrMaxSizeReached))
	if err != nil || waiting != nil || s.dropped == 0 {
		t.Fatalf("%v, %v, %d dropped", err, waiting, s.dropped)
	}
	s.dirty = true
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Check(); err != nil || len(r.Problems) > 0 {
		t.Fatal(r, err)
	}
	if err := s.makeRoom(); err == nil {
		t.Error("room was made of nothing")
	}
}

func TestWaitingMinutesAreBounded(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, testConfig(t))
	f := newFleet(400)
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range 100 {
		p, _ := f.next()
		p.Boottime = time.Duration(n+1) * time.Minute
		s.pend(s.head(p), p.Values)
	}
	if s.pendingValues > maxPendingValues || s.dropped == 0 || len(s.pending) < 30 {
		t.Errorf("%d minutes with %d values wait, %d dropped", len(s.pending), s.pendingValues, s.dropped)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{{}, {Dir: "x", MaxBytes: 5}, {Dir: "x", Minutes: -1}, {Dir: "x", CommitEvery: -1}} {
		if _, err := Open(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
