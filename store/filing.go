package store

import (
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/cam-os/edge/store/internal/storepb"
)

// fileNow says whether the waiting minutes are due in their bucket: many, big,
// or an hour that is over.
func (s *Store) fileNow(keys []key) bool {
	values := 0
	for _, k := range keys {
		if k != s.current && k.hour() != s.current.hour() {
			return true
		}
		values += len(s.pending[k].values)
	}
	// A value is some 24 bytes packed.
	return len(keys) > fileAfter || values*24 > fileBytes && len(keys) > 1
}

// file adds a waiting minute to its bucket, and to its hour if that was summed
// already.
func (s *Store) file(tx *bolt.Tx, k key, out *outcome) error {
	c := s.pending[k]
	fresh, err := s.merge(tx.Bucket(bucketMinutes), k, c)
	if tooLarge(err) {
		out.dropped++
		return nil
	}
	if err != nil {
		return err
	}
	if fresh {
		out.minutes++
	}
	hours := tx.Bucket(bucketHours)
	if last, _ := hours.Cursor().Last(); last != nil {
		summed, err := parseKey(last)
		if err != nil {
			return fmt.Errorf("%w: %w", errBlob, err)
		}
		if !summed.less(k.hour()) {
			fresh, err := s.merge(hours, k.hour(), c)
			if tooLarge(err) {
				out.dropped++
				return nil
			}
			if err != nil {
				return err
			}
			if fresh {
				out.hours++
			}
		}
	}
	return nil
}

// merge adds c to the point that the bucket has under k; fresh if there was none.
func (s *Store) merge(bucket *bolt.Bucket, k key, c *cell) (fresh bool, err error) {
	var sum cell
	if blob := bucket.Get(k.bytes()); blob != nil {
		if s.readPoint(blob, nil, &sum) != nil {
			s.damaged.Add(1) // what it held is lost; the rest goes on
			sum = cell{}
		}
	} else {
		fresh = true
	}
	sum.add(c.head, c.list())
	return fresh, s.putPoint(bucket, k, &sum)
}

// tooLarge says whether err is about a point that cannot be stored, however
// often it is tried: it is dropped and counted.
func tooLarge(err error) bool {
	var size *SizeError
	return errors.As(err, &size)
}

// sealBlock seals what b has, and does not even unfold what is too large.
func (c *codec) sealBlock(b *builder) ([]byte, error) {
	if n := b.cells(); n > 2*maxBlob { // columns of zeros take nothing
		return nil, &SizeError{n, maxBlob}
	}
	return c.seal(b.finish(), true)
}

func (s *Store) putPoint(bucket *bolt.Bucket, k key, c *cell) error {
	var b builder
	b.cell(c)
	blob, err := s.codec.sealBlock(&b)
	if err != nil {
		return err
	}
	bucket.FillPercent = 0.95 // keys only grow
	return bucket.Put(k.bytes(), blob)
}

// readPoint adds the points of a blob to c.
func (s *Store) readPoint(blob []byte, want func(string) bool, c *cell) error {
	var b storepb.Block
	if err := s.codec.open(blob, &b); err != nil {
		return err
	}
	return walkBlock(&b, want, c.add)
}

// rollHours sums the minutes of each hour that is over and not yet summed,
// also those that an earlier run left.
func (s *Store) rollHours(tx *bolt.Tx, out *outcome) error {
	minutes, hours := tx.Bucket(bucketMinutes), tx.Bucket(bucketHours)
	from := key{}
	if last, _ := hours.Cursor().Last(); last != nil {
		k, err := parseKey(last)
		if err != nil {
			return fmt.Errorf("%w: %w", errBlob, err)
		}
		from = key{k.boot, (k.index + 1) * 60}
	}
	var sum cell
	var of key
	flush := func() error {
		if sum.values == nil {
			return nil
		}
		err := s.putPoint(hours, of, &sum)
		sum = cell{}
		switch {
		case tooLarge(err):
			out.dropped++
			return nil
		case err == nil:
			out.hours++
		}
		return err
	}
	c := minutes.Cursor()
	for k, blob := c.Seek(from.bytes()); k != nil; k, blob = c.Next() {
		minute, err := parseKey(k)
		if err != nil {
			return fmt.Errorf("%w: %w", errBlob, err)
		}
		if minute.hour() == s.current.hour() {
			break
		}
		if minute.hour() != of {
			if err := flush(); err != nil {
				return err
			}
			of = minute.hour()
		}
		if s.readPoint(blob, nil, &sum) != nil {
			s.damaged.Add(1)
		}
	}
	return flush()
}

// putBoot keeps this boot's wall-clock offset, when it is new or moved.
func (s *Store) putBoot(tx *bolt.Tx, out *outcome) error {
	bucket := tx.Bucket(bucketBoots)
	moved := s.offset - out.offset
	if bucket.Get(bootKey(s.boot)) != nil && moved < int64(time.Second) && moved > -int64(time.Second) {
		return nil
	}
	blob, err := s.codec.seal(&storepb.Boot{Id: s.bootID, Offset: s.offset}, false)
	if err != nil {
		return err
	}
	out.offset = s.offset
	return bucket.Put(bootKey(s.boot), blob)
}
