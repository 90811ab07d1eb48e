package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/cam-os/edge/store/internal/storepb"
)

// recover opens the database and takes up the newest state.
func (s *Store) recover() error {
	var committed *storepb.State
	known := false // whether the id of the store in Dir is known
	// A file of no bytes was a store; none at all was not, or is no more.
	fi, err := os.Stat(s.path)
	emptied := err == nil && fi.Mode().IsRegular() && fi.Size() == 0
	if err = os.MkdirAll(s.cfg.Dir, 0o700); err == nil {
		committed, err = s.openWritable()
	}
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		err = s.replaceCorrupt(corrupt)
	} else if err == nil {
		known = !emptied
	}
	if err != nil {
		if refuses(err) {
			return err
		}
		s.degrade(err)
		// What cannot be written can still be read.
		committed, err = s.openReadOnly()
		switch {
		case err == nil:
			known = true
		case errors.Is(err, fs.ErrPermission):
			return &PermissionError{s.path, err}
		case refuses(err):
			return err
		}
	}

	s.live.choose(s.cfg)
	copied, err := s.live.read(s.codec)
	if err != nil {
		s.stats.LiveIgnored++
		s.cfg.Log.Warn("store: the live copy is ignored", "path", s.live.path, "error", err)
	}
	if copied != nil && known && string(copied.Store) != string(s.id[:]) {
		s.stats.LiveIgnored++
		s.cfg.Log.Info("store: the live copy is of another store and ignored", "path", s.live.path)
		copied = nil
	}
	s.adopt(committed, copied)
	if s.db == nil || s.db.IsReadOnly() {
		return nil
	}
	if err := guard(s.path, s.shrink); err != nil {
		s.cfg.Log.Warn("store: the database was not made smaller", "error", err)
		s.stats.LastError = err.Error()
	}
	if s.stats.Quarantines > 0 || emptied {
		_ = s.commit() // what survived in the live copy is safe again; Stats has the error
	}
	return nil
}

// refuses says whether Open must fail rather than go on in memory.
func refuses(err error) bool {
	var locked *LockedError
	var schema *SchemaError
	return errors.As(err, &locked) || errors.As(err, &schema) || tooLarge(err)
}

// openWritable opens the database for writing, migrates it, and reads its
// state (nil when it has none).
func (s *Store) openWritable() (*storepb.State, error) {
	db, file, err := openDatabase(s.path, s.cfg, false)
	if err != nil {
		return nil, err
	}
	var state *storepb.State
	err = guard(s.path, func() error {
		if err := s.migrate(db); err != nil {
			return err
		}
		state, err = s.readState(db)
		return err
	})
	if err != nil {
		_ = closeDatabase(db)
		return nil, err
	}
	s.setDatabase(db, file)
	return state, nil
}

func (s *Store) openReadOnly() (*storepb.State, error) {
	db, file, err := openDatabase(s.path, s.cfg, true)
	if err != nil {
		return nil, err
	}
	var state *storepb.State
	err = guard(s.path, func() error {
		return db.View(func(tx *bolt.Tx) error {
			return schemaError(s.path, tx)
		})
	})
	if err == nil {
		err = guard(s.path, func() error { state, err = s.readState(db); return err })
	}
	if err != nil {
		_ = closeDatabase(db)
		return nil, err
	}
	s.setDatabase(db, file)
	return state, nil
}

func (s *Store) setDatabase(db *bolt.DB, file fs.FileInfo) {
	s.opened.Lock()
	s.db, s.inode = db, file
	s.opened.Unlock()
}

// readState takes the store's id and returns its committed state.
func (s *Store) readState(db *bolt.DB) (state *storepb.State, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		meta, bucket := tx.Bucket(bucketMeta), tx.Bucket(bucketState)
		if meta == nil || bucket == nil {
			return nil
		}
		if n := copy(s.id[:], meta.Get(keyStore)); n != len(s.id) {
			return fmt.Errorf("%w: store id of %d bytes", errBlob, n)
		}
		blob := bucket.Get(keyState)
		if blob == nil {
			return nil
		}
		state, err = s.codec.openState(blob)
		if tooLarge(err) {
			err = fmt.Errorf("store: the state in %s: %w", s.path, err)
		}
		return err
	})
	return state, err
}

// replaceCorrupt moves the database aside and opens a fresh one with the same
// id, if the id is known.
func (s *Store) replaceCorrupt(corrupt *CorruptError) error {
	s.opened.Lock()
	if s.db != nil {
		if err := closeDatabase(s.db); err != nil {
			s.cfg.Log.Warn("store: closing a corrupt database", "error", err)
		}
		s.db = nil
	}
	s.opened.Unlock()
	to, err := quarantine(s.path, time.Now())
	if err != nil {
		return err
	}
	s.stats.Quarantined, s.stats.Quarantines = to, s.stats.Quarantines+1
	if s.usable() < s.cfg.MaxBytes/2 {
		// It would take the room that the fresh one needs.
		s.cfg.Log.Warn("store: the corrupt database is too large to keep within the cap and is removed", "path", to)
		_ = os.Remove(to)
	}
	s.minutes, s.hours, s.filedBoot = 0, 0, 0
	s.cfg.Log.Error("store: the database is corrupt; it was moved aside and a fresh one begun", "moved", to, "error", corrupt.Err)
	_, err = s.openWritable()
	return err
}

// adopt starts from the newer of the committed state and the live copy, both
// of which were validated when they were read.
func (s *Store) adopt(committed, copied *storepb.State) {
	newest, older := committed, copied
	if copied.GetGeneration() > committed.GetGeneration() {
		newest, older = copied, committed
	}
	s.boot = 1
	if newest != nil {
		s.generation, s.dropped = newest.Generation, newest.Dropped
		copy(s.id[:], newest.Store)
		ledger, _ := unpackLedger(newest.Ledger)
		old, _ := unpackLedger(older.GetLedger())
		s.stats.Raised = raise(&ledger, old)
		s.ledger = packLedger(ledger)
		_ = walkBlock(newest.Pending, nil, s.pend)
		s.trim()
		if s.boot = newest.Boot; newest.BootId != s.bootID {
			s.boot++
		}
	}
	s.minutes, s.hours = committed.GetMinutes(), committed.GetHours()
	s.dirty = newest != nil && newest == copied
	s.current = key{boot: s.boot}
	_ = s.read(func(tx *bolt.Tx) error { // a fault is for the next commit to mend
		bucket := tx.Bucket(bucketBoots)
		if bucket == nil {
			return nil
		}
		var b storepb.Boot
		if blob := bucket.Get(bootKey(s.boot)); blob != nil && s.codec.open(blob, &b) == nil {
			s.offset, s.filedBoot = b.Offset, b.Offset
		}
		return nil
	})
}

// raise lifts the figures of l to those of old, which should never be higher,
// and returns how many accounts and zones were.
func raise(l *Ledger, old Ledger) (raised int) {
	before := make(map[string]Usage, len(old.Accounts))
	for _, a := range old.Accounts {
		before[a.Name] = a.Total
	}
	for i := range l.Accounts {
		if u, ok := before[l.Accounts[i].Name]; ok && l.Accounts[i].Total.max(u) {
			raised++
		}
	}
	zones := make(map[Zone]ZoneState, len(old.Zones))
	for _, z := range old.Zones {
		zones[z.Zone] = z
	}
	for i, z := range l.Zones {
		// Whole, so that its parts still sum to what was metered.
		if o, ok := zones[z.Zone]; ok && o.Metered > z.Metered {
			l.Zones[i] = o
			raised++
		}
	}
	return raised
}
