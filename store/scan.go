package store

import (
	"errors"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// scanChunk is how many values one read transaction visits: a writer that
// grows the file waits for readers.
const scanChunk = 256

// scan visits the values of a bucket with keys from lo to hi, inclusive.
func (s *Store) scan(bucket, lo, hi []byte, visit func(k, v []byte) error) error {
	for more := true; more; {
		more = false
		err := s.read(func(tx *bolt.Tx) error {
			b := tx.Bucket(bucket)
			if b == nil {
				return nil
			}
			c := b.Cursor()
			n := 0
			for k, v := c.Seek(lo); k != nil && (hi == nil || string(k) <= string(hi)); k, v = c.Next() {
				if n++; n > scanChunk {
					lo, more = append([]byte(nil), k...), true
					return nil
				}
				if err := visit(k, v); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// suspicion is what a reader found wrong with a database.
type suspicion struct {
	db  *bolt.DB
	err *CorruptError
}

// read runs one read transaction; without a database there is nothing to read.
func (s *Store) read(f func(tx *bolt.Tx) error) error {
	s.opened.RLock()
	db := s.db
	if db == nil {
		s.opened.RUnlock()
		return nil
	}
	err := guard(s.path, func() error { return db.View(f) })
	s.opened.RUnlock()
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		s.suspect.CompareAndSwap(nil, &suspicion{db, corrupt}) // the next commit replaces it
	}
	return err
}

// releasePages takes the database's pages out of this process's resident set.
// They stay in the page cache, which is where they belong: a week of series
// read once must not count against the node's memory.
func (s *Store) releasePages() {
	_ = s.read(func(tx *bolt.Tx) error {
		// The transaction keeps the mapping in place, and the mapping is never
		// shorter than the pages that a transaction can reach. Beyond that lies
		// memory of others.
		data, size := tx.DB().Info().Data, uintptr(tx.Size()) // #nosec G115 -- a file's size
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, data, size, unix.MADV_DONTNEED)
		if errno != 0 {
			return errno
		}
		return nil
	})
}
