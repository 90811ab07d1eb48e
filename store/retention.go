package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// prune deletes the oldest points beyond the numbers to keep, and boots that
// no point refers to any more.
func (s *Store) prune(tx *bolt.Tx, out *outcome) error {
	for _, b := range []struct {
		name  []byte
		count *uint64
		keep  int
	}{{bucketMinutes, &out.minutes, s.cfg.Minutes}, {bucketHours, &out.hours, s.cfg.Hours}} {
		// An hour's worth at a time: each deletion touches the pages at the
		// old end.
		keep := uint64(b.keep) // #nosec G115 -- not negative
		if *b.count <= keep+60 {
			continue
		}
		n, _, err := deleteOldest(tx.Bucket(b.name), *b.count-keep, 1<<62)
		if err != nil {
			return err
		}
		*b.count -= min(n, *b.count)
	}
	if short := s.shortOf(tx); short > 0 {
		if err := dropOldest(tx, short, out); err != nil {
			return err
		}
	}
	return s.pruneBoots(tx)
}

// deleteOldest deletes up to n points or size bytes, whichever is first.
func deleteOldest(bucket *bolt.Bucket, n uint64, size int64) (deleted uint64, freed int64, err error) {
	c := bucket.Cursor()
	for k, v := c.First(); k != nil && deleted < n && freed < size; k, v = c.First() {
		freed += int64(len(k) + len(v) + elementSize)
		if err := c.Delete(); err != nil {
			return deleted, freed, err
		}
		deleted++
	}
	return deleted, freed, nil
}

// dropOldest gives up points before their time: minutes older than a day's
// worth, then hours older than a week's, then what is left.
func dropOldest(tx *bolt.Tx, size int64, out *outcome) error {
	for _, b := range []struct {
		name  []byte
		count *uint64
		keep  uint64
	}{{bucketMinutes, &out.minutes, 24 * 60}, {bucketHours, &out.hours, 7 * 24}, {bucketMinutes, &out.minutes, 0}, {bucketHours, &out.hours, 0}} {
		if size <= 0 || *b.count <= b.keep && b.keep > 0 {
			continue
		}
		most := *b.count - b.keep
		if b.keep == 0 {
			most = 1 << 62 // should the count be wrong
		}
		n, freed, err := deleteOldest(tx.Bucket(b.name), most, size)
		if err != nil {
			return err
		}
		*b.count -= min(n, *b.count)
		out.dropped += n
		size -= freed
	}
	return nil
}

func (s *Store) pruneBoots(tx *bolt.Tx) error {
	oldest := bootKey(s.boot)
	for _, name := range [][]byte{bucketMinutes, bucketHours} {
		if k, _ := tx.Bucket(name).Cursor().First(); len(k) == 8 && bytes.Compare(k[:4], oldest) < 0 {
			oldest = bytes.Clone(k[:4])
		}
	}
	for k := range s.pending {
		if b := bootKey(k.boot); bytes.Compare(b, oldest) < 0 {
			oldest = b
		}
	}
	c := tx.Bucket(bucketBoots).Cursor()
	for k, _ := c.First(); k != nil && bytes.Compare(k, oldest) < 0; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// usable is what the cap leaves for the database.
func (s *Store) usable() int64 { return s.cfg.MaxBytes - s.quarantinedBytes() }

// reserve is how much room inside the cap is kept free, so that commits and
// deletions always find pages.
func (s *Store) reserve() int64 { return min(max(s.cfg.MaxBytes/16, 64<<10), 1<<20) }

// shortOf is how many bytes must be freed so that the reserve is there.
func (s *Store) shortOf(tx *bolt.Tx) int64 {
	st := s.db.Stats()
	free := int64(st.FreePageN+st.PendingPageN) * int64(s.db.Info().PageSize)
	// bbolt refuses to grow within AllocSize of its MaxSize.
	return s.reserve() - (s.usable() - allocSize - tx.Size() + free)
}

// makeRoom drops the oldest points in a transaction of its own, so that the
// next one has free pages. Called when the file cannot grow.
func (s *Store) makeRoom() error {
	out := outcome{minutes: s.minutes, hours: s.hours, dropped: s.dropped}
	err := guard(s.path, func() error {
		return s.db.Update(func(tx *bolt.Tx) error { return dropOldest(tx, s.reserve(), &out) })
	})
	if err != nil {
		return err
	}
	if out.dropped == s.dropped {
		return errors.New("there is no room, and nothing left to drop")
	}
	s.minutes, s.hours, s.dropped = out.minutes, out.hours, out.dropped
	return nil
}

// full says whether err means that the file could not grow.
func full(err error) bool {
	return errors.Is(err, bolterrors.ErrMaxSizeReached) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// preallocate fills the file's next stretch with zeros before bbolt needs it.
// Blocks that exist already are overwritten without a journal transaction,
// which costs more than the stretch does. Failing is no harm: bbolt then grows
// the file itself, or says why it cannot.
func (s *Store) preallocate(highWater int64) {
	fi, err := os.Stat(s.path)
	if err != nil || fi.Size() >= highWater+allocSize/4 {
		return
	}
	n := min(allocSize, s.usable()-fi.Size())
	if n <= 0 {
		return
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if _, err := f.Seek(0, io.SeekEnd); err == nil {
		if _, err = f.Write(make([]byte, n)); err == nil && !s.cfg.noSync {
			_ = f.Sync()
		}
	}
	s.stats.BytesWritten += uint64(n) // #nosec G115 -- positive
}

// shrink compacts the database where more than half of it is free, or it is
// over the cap. Called from Open only: a store that runs keeps to its cap by
// reusing pages.
//
// The copy counts against the cap. Only a database found larger than the cap
// (the cap was lowered) must go beyond it, once, by less than half the new cap.
func (s *Store) shrink() error {
	var highWater int64
	err := s.db.View(func(tx *bolt.Tx) error { highWater = tx.Size(); return nil })
	if err != nil {
		return err
	}
	st := s.db.Stats()
	used := highWater - int64(st.FreePageN+st.PendingPageN)*int64(s.db.Info().PageSize)
	fi, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	over := fi.Size() > s.usable()
	wasteful := highWater > 4<<20 && used < highWater/2 && fi.Size()+used+allocSize <= s.usable()
	if !over && !wasteful {
		return nil
	}
	if most := s.usable()/2 - allocSize; used > most {
		out := outcome{minutes: s.minutes, hours: s.hours, dropped: s.dropped}
		s.db.MaxSize = 0
		err := s.db.Update(func(tx *bolt.Tx) error { return dropOldest(tx, used-most, &out) })
		if err != nil {
			return err
		}
		s.minutes, s.hours, s.dropped, s.dirty = out.minutes, out.hours, out.dropped, true
	}
	return s.compact(os.Rename)
}

// compact copies the database and puts the copy in its place, with a function
// that renames.
func (s *Store) compact(rename func(from, to string) error) error {
	tmp := s.path + ".compact"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	unsynced := s.cfg
	unsynced.noSync = true // one sync at the end
	to, _, err := openDatabase(tmp, unsynced, false)
	if err != nil {
		return err
	}
	err = errors.Join(bolt.Compact(to, s.db, 1<<20), to.Sync(), to.Close())
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("store: compacting: %w", err)
	}
	s.opened.Lock()
	defer s.opened.Unlock()
	if err := rename(tmp, s.path); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("store: compacting: %w", err)
	}
	old := s.db
	s.db, s.inode, err = openDatabase(s.path, s.cfg, false)
	_ = closeDatabase(old)
	if err != nil {
		s.db, s.inode = nil, nil
	}
	return err
}
