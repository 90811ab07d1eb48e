package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// FileName is the database's name in the state directory.
const FileName = "state.db"

var (
	bucketMeta    = []byte("meta")
	bucketState   = []byte("state")
	bucketMinutes = []byte("minutes")
	bucketHours   = []byte("hours")
	bucketBoots   = []byte("boots")

	keySchema  = []byte("schema")
	keyStore   = []byte("store")
	keyCreated = []byte("created")
	keyWriter  = []byte("writer")
	keyState   = []byte("state")
)

// Schema is the version that this code writes.
const Schema = uint32(len(migrations))

// migrations[n] brings schema n to n+1, each in a transaction of its own. An
// empty file has schema 0.
var migrations = [...]func(tx *bolt.Tx, s *Store) error{
	func(tx *bolt.Tx, s *Store) error {
		for _, name := range [][]byte{bucketMeta, bucketState, bucketMinutes, bucketHours, bucketBoots} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		if err := meta.Put(keyCreated, binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()))); err != nil { // #nosec G115 -- bits kept
			return err
		}
		return meta.Put(keyStore, s.id[:])
	},
	// Figures by name: nothing to change, but a program that knows none would
	// drop them with the next commit.
	func(*bolt.Tx, *Store) error { return nil },
}

// allocSize is the step by which the file grows.
const allocSize = 256 << 10

// openDatabase opens and locks path, and verifies its pages before bbolt maps
// them. It changes nothing but an empty file. Errors: *LockedError,
// *CorruptError, or the system's. file tells which file it is.
func openDatabase(path string, cfg Config, readOnly bool) (db *bolt.DB, file fs.FileInfo, err error) {
	options := &bolt.Options{
		Timeout:      cfg.LockTimeout,
		ReadOnly:     readOnly,
		NoSync:       cfg.noSync,
		NoGrowSync:   cfg.noSync,
		FreelistType: bolt.FreelistMapType,
		NoStatistics: false,
		OpenFile: func(path string, flag int, mode fs.FileMode) (*os.File, error) {
			f, err := openLocked(path, flag, mode, cfg.LockTimeout)
			if err != nil {
				return nil, err
			}
			if file, err = f.Stat(); err != nil {
				_ = f.Close()
				return nil, err
			}
			return f, nil
		},
	}
	err = guard(path, func() error {
		db, err = bolt.Open(path, 0o600, options)
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, nil, &CorruptError{path, err}
	default:
		return nil, nil, err
	}
	db.AllocSize = allocSize
	if !readOnly {
		return db, file, syncDir(filepath.Dir(path))
	}
	return db, file, nil
}

// schemaOf reads the version of a database; 0 is an empty one.
func schemaOf(tx *bolt.Tx) (uint32, error) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return 0, nil
	}
	v := meta.Get(keySchema)
	if len(v) != 4 {
		return 0, fmt.Errorf("%w: schema version of %d bytes", errBlob, len(v))
	}
	return binary.BigEndian.Uint32(v), nil
}

// schemaError says that the database is of a newer schema, nil when it is not.
func schemaError(path string, tx *bolt.Tx) error {
	v, err := schemaOf(tx)
	if err != nil || v <= Schema {
		return err
	}
	return &SchemaError{Path: path, Found: v, Known: Schema, Writer: writerOf(tx)}
}

// writerOf is the version of the program that wrote the database, empty when
// it was not said. It is shown to people and is no more than a string.
func writerOf(tx *bolt.Tx) string {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return ""
	}
	v := meta.Get(keyWriter)
	return string(v[:min(len(v), 64)])
}

// sign notes who writes the database.
func (s *Store) sign(tx *bolt.Tx) error {
	if s.cfg.Writer == "" || s.cfg.Writer == writerOf(tx) {
		return nil
	}
	return tx.Bucket(bucketMeta).Put(keyWriter, []byte(s.cfg.Writer))
}

// migrate brings db to the present schema.
func (s *Store) migrate(db *bolt.DB) error {
	var found uint32
	err := db.View(func(tx *bolt.Tx) (err error) {
		if found, err = schemaOf(tx); err != nil {
			return err
		}
		return schemaError(db.Path(), tx)
	})
	if err != nil {
		return err
	}
	for v := found; v < Schema; v++ {
		err := db.Update(func(tx *bolt.Tx) error {
			if err := errors.Join(migrations[v](tx, s), s.sign(tx)); err != nil {
				return err
			}
			return tx.Bucket(bucketMeta).Put(keySchema, binary.BigEndian.AppendUint32(nil, v+1))
		})
		if err != nil {
			return fmt.Errorf("store: migrating %s from schema %d to %d: %w", db.Path(), v, v+1, err)
		}
	}
	return nil
}

// closeDatabase closes db, also when a panic left one of its locks held.
func closeDatabase(db *bolt.DB) error {
	done := make(chan error, 1)
	path := db.Path()
	go func() { done <- guard(path, db.Close) }()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * time.Second):
		return fmt.Errorf("store: %s did not close", path)
	}
}

// quarantine moves a corrupt file aside and returns its new path. An older
// quarantined file is removed, so that there is one at most.
func quarantine(path string, now time.Time) (string, error) {
	old, _ := filepath.Glob(path + ".corrupt-*")
	to := path + ".corrupt-" + now.UTC().Format("20060102T150405Z")
	if err := os.Rename(path, to); err != nil {
		return "", fmt.Errorf("store: moving a corrupt database aside: %w", err)
	}
	for _, o := range old {
		if o != to {
			_ = os.Remove(o)
		}
	}
	return to, syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir) // #nosec G304 -- the configured directory
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
