package store

import "os"

// Stats is what the store knows of itself. Counts are since Open unless they
// say otherwise.
type Stats struct {
	FileBytes        int64  // of the database
	QuarantinedBytes int64  // of the file moved aside
	MaxBytes         int64  // the cap over both
	FreeBytes        int64  // inside the database, ready for use
	RingBytes        int    // of the one-second ring, packed
	RingDropped      uint64 // points that its cap cost before their hour
	Minutes, Hours   uint64 // points stored
	Dropped          uint64 // minute and hour points that the cap cost, ever
	Pending          int    // minutes not yet filed
	Damaged          uint64 // stored points that did not decode and are skipped

	Points        uint64 // appended
	Commits       uint64
	CommitsFailed uint64
	BytesWritten  uint64 // to the database, before the file system's own
	Quarantines   uint64
	Quarantined   string // path of the file moved aside, if any
	Recreated     uint64 // times that the file was removed or replaced while open
	Raised        int    // figures of the ledger that had gone back and were lifted, at Open

	LivePath    string // empty when there is no tmpfs for it
	LiveBytes   int
	LiveWrites  uint64
	LiveFailed  uint64
	LiveIgnored uint64 // torn, foreign or garbage

	// Degraded says what does not work and what to do; empty when all is well.
	Degraded  string
	LastError string
}

// Stats returns the present figures.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.MaxBytes, st.Damaged = s.cfg.MaxBytes, s.damaged.Load()
	st.RingBytes, st.RingDropped = s.ring.bytes, s.ring.dropped
	st.Minutes, st.Hours, st.Dropped, st.Pending = s.minutes, s.hours, s.dropped, len(s.pending)
	st.LivePath, st.LiveBytes = s.live.path, s.live.bytes
	st.LiveWrites, st.LiveFailed = s.live.writes, s.live.failed
	if fi, err := os.Stat(s.path); err == nil {
		st.FileBytes = fi.Size()
	}
	st.QuarantinedBytes = s.quarantinedBytes()
	s.opened.RLock()
	if s.db != nil {
		b := s.db.Stats()
		st.FreeBytes = int64(b.FreePageN+b.PendingPageN) * int64(s.db.Info().PageSize)
	}
	s.opened.RUnlock()
	if st.Degraded == "" && s.live.path == "" {
		st.Degraded = "no tmpfs for the live copy: accounts may go back by " + s.cfg.CommitEvery.String() + " when the node is killed; set the live directory to a tmpfs"
	}
	return st
}

func (s *Store) quarantinedBytes() int64 {
	if s.stats.Quarantined == "" {
		return 0
	}
	fi, err := os.Stat(s.stats.Quarantined)
	if err != nil {
		return 0
	}
	return fi.Size()
}

func (s *Store) degrade(err error) {
	if s.stats.Degraded == "" {
		s.cfg.Log.Error("store: going on in memory", "error", err)
	}
	s.stats.LastError = err.Error()
	s.stats.Degraded = "commits fail, the store works in memory and tries again: " + err.Error()
}

func (s *Store) restored() {
	if s.stats.Degraded != "" {
		s.cfg.Log.Info("store: commits work again")
	}
	s.stats.Degraded = ""
}
