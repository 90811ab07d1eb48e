package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/cam-os/edge/store/internal/storepb"
)

const (
	// fileAfter and fileBytes say when waiting minutes are filed in their
	// bucket: until then they are rewritten with the state, which touches
	// fewer pages than the bucket's branches and leaves.
	fileAfter = 10
	fileBytes = 8 << 10
	// maxPendingValues bounds the minutes that wait while they cannot be
	// filed: five hours of 55 accounts, some 6 MB.
	maxPendingValues = 16_000
)

func bootKey(boot uint32) []byte { return binary.BigEndian.AppendUint32(nil, boot) }

// Commit makes all that was appended survive a power cut.
func (s *Store) Commit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	return s.commit()
}

func (s *Store) commit() error {
	s.lastCommit = time.Now()
	suspect := s.suspect.Swap(nil)
	if !s.dirty && suspect == nil && !s.lost() {
		return nil
	}
	if err := s.recreate(); err != nil {
		return s.failed(err)
	}
	var err error
	if suspect != nil && suspect.db == s.db {
		err = suspect.err
	} else if err = s.reopen(); err == nil {
		err = s.write(true)
	}
	var waiting error // why minutes were not filed, though the commit was made
	if s.db != nil && full(err) {
		err, waiting = s.writeFull(err)
	}
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		if err = s.replaceCorrupt(corrupt); err == nil {
			err = s.write(true)
		}
	}
	if err != nil {
		return s.failed(err)
	}
	s.dirty = false
	s.stats.Commits++
	if s.restored(); waiting != nil {
		s.degrade(fmt.Errorf("minutes wait in the ledger's commit: %w; free room on the device of %s", waiting, s.cfg.Dir))
	}
	s.releasePages()
	return nil
}

// failed accounts for a commit that failed; the next one tries again.
func (s *Store) failed(err error) error {
	s.stats.CommitsFailed++
	s.degrade(err)
	return fmt.Errorf("store: commit: %w", err)
}

// writeFull commits although the file cannot grow. At the cap the oldest
// points make room. On a full device nothing is given up while it can be
// helped: minutes wait in the state, which needs pages that are free already.
func (s *Store) writeFull(why error) (err, waiting error) {
	if errors.Is(why, bolterrors.ErrMaxSizeReached) || s.pendingValues > maxPendingValues/2 {
		if err := s.makeRoom(); err != nil {
			why = errors.Join(why, err)
		} else if err := s.write(true); err == nil || !full(err) {
			return err, nil
		}
	}
	if err := s.write(false); err != nil {
		return errors.Join(why, err), nil
	}
	return nil, why
}

// reopen gets a database that can be written, where there is none.
func (s *Store) reopen() error {
	if s.db != nil && !s.db.IsReadOnly() {
		return nil
	}
	if s.db != nil {
		s.opened.Lock()
		_ = closeDatabase(s.db)
		s.db = nil
		s.opened.Unlock()
	}
	id := s.id
	var state *storepb.State
	err := os.MkdirAll(s.cfg.Dir, 0o700)
	if err == nil {
		state, err = s.openWritable()
	}
	if err == nil && s.id == id {
		s.minutes, s.hours, s.filedBoot = state.GetMinutes(), state.GetHours(), 0
	} else if err == nil {
		other := s.db
		s.setDatabase(nil, nil)
		_ = closeDatabase(other)
		err = fmt.Errorf("%s appeared, with the accounts of another store; restart the node to take them up", s.path)
	}
	s.id = id
	return err
}

// outcome is what a transaction changes in the store once it succeeded.
type outcome struct {
	filed                   []key
	minutes, hours, dropped uint64
	offset                  int64
}

// write commits the state, and files minutes when it is time and file allows.
func (s *Store) write(file bool) error {
	out := outcome{minutes: s.minutes, hours: s.hours, dropped: s.dropped, offset: s.filedBoot}
	before := s.db.Stats()
	s.db.MaxSize = int(s.usable())
	err := guard(s.path, func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			if file {
				s.preallocate(tx.Size())
			}
			keys := s.pendingKeys()
			rest := keys
			if file && s.fileNow(keys) {
				rest = nil
				for _, k := range keys {
					if k == s.current {
						rest = append(rest, k)
						continue
					}
					if err := s.file(tx, k, &out); err != nil {
						return err
					}
					out.filed = append(out.filed, k)
				}
				if err := s.rollHours(tx, &out); err != nil {
					return err
				}
				if err := s.prune(tx, &out); err != nil {
					return err
				}
			}
			if err := errors.Join(s.putBoot(tx, &out), s.sign(tx)); err != nil {
				return err
			}
			state := s.state(rest)
			state.Minutes, state.Hours, state.Dropped = out.minutes, out.hours, out.dropped
			blob, err := s.codec.seal(state, true)
			if err != nil {
				return err
			}
			if meta := tx.Bucket(bucketMeta); !bytes.Equal(meta.Get(keyStore), s.id[:]) {
				// Begun afresh beside a live copy, whose id goes on.
				if err := meta.Put(keyStore, s.id[:]); err != nil {
					return err
				}
			}
			return tx.Bucket(bucketState).Put(keyState, blob)
		})
	})
	if err != nil {
		return err
	}
	for _, k := range out.filed {
		s.pendingValues -= len(s.pending[k].values)
		delete(s.pending, k)
	}
	s.minutes, s.hours, s.dropped, s.filedBoot = out.minutes, out.hours, out.dropped, out.offset
	after := s.db.Stats()
	// And the meta page.
	written := after.TxStats.GetPageAlloc() - before.TxStats.GetPageAlloc() + int64(s.db.Info().PageSize)
	s.stats.BytesWritten += uint64(max(written, 0)) // #nosec G115 -- not negative
	return nil
}
