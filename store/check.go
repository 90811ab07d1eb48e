package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/cam-os/edge/store/internal/storepb"
)

// Report is what a check found.
type Report struct {
	Path            string
	Store           string // its id
	Schema          uint32
	Created         time.Time
	Bytes           int64 // of the file
	FreeBytes       int64 // inside it
	Minutes, Hours  uint64
	Boots           int
	Accounts, Zones int
	Generation      uint64
	// Problems says in words what is wrong; empty when all is well.
	Problems []string
}

// maxProblems bounds a report on a file that is damaged all over.
const maxProblems = 100

func (r *Report) problem(format string, args ...any) {
	switch n := len(r.Problems); {
	case n < maxProblems:
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	case n == maxProblems:
		r.Problems = append(r.Problems, "and more")
	}
}

// Check examines a database that no node has open: path is the file or its
// directory. It changes nothing. What is wrong inside is in Report.Problems;
// an error says that the file could not be examined: *LockedError while a
// node runs (then Store.Check, through the node, can), *SchemaError, or the
// system's.
func Check(path string) (Report, error) {
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		path = filepath.Join(path, FileName)
	}
	cfg, err := Config{Dir: filepath.Dir(path)}.withDefaults()
	if err != nil {
		return Report{}, err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return Report{}, fmt.Errorf("store: %w", err)
	}
	r := Report{Path: path, Bytes: fi.Size()}
	if fi.Mode().IsRegular() && fi.Size() == 0 { // bbolt would ask for a writable file
		r.problem("the file is empty")
		return r, nil
	}
	db, _, err := openDatabase(path, cfg, true)
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		r.problem("pages: %v", corrupt.Err)
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer func() { _ = closeDatabase(db) }()
	c, err := newCodec()
	if err != nil {
		return r, err
	}
	defer c.close()
	return r, r.examine(db, c)
}

// Check examines the open database, beside whatever else goes on.
func (s *Store) Check() (Report, error) {
	s.opened.RLock()
	defer s.opened.RUnlock()
	if s.db == nil {
		return Report{Path: s.path}, errors.New("store: there is no database to check; Stats says why")
	}
	r := Report{Path: s.path}
	if fi, err := os.Stat(s.path); err == nil {
		r.Bytes = fi.Size()
	}
	return r, r.examine(s.db, s.codec)
}

func (r *Report) examine(db *bolt.DB, c *codec) error {
	err := guard(r.Path, func() error {
		return db.View(func(tx *bolt.Tx) error {
			free := 0
			for err := range tx.Check() {
				r.problem("bbolt: %v", err)
			}
			for p := range int(tx.Size()) / db.Info().PageSize {
				if info, err := tx.Page(p); err == nil && info != nil && info.Type == "free" {
					free++
				}
			}
			r.FreeBytes = int64(free) * int64(db.Info().PageSize)
			return r.contents(tx, c)
		})
	})
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		r.problem("%v", corrupt.Err)
		return nil
	}
	return err
}

func (r *Report) contents(tx *bolt.Tx, c *codec) error {
	var err error
	if r.Schema, err = schemaOf(tx); err != nil {
		return err
	}
	if r.Schema > Schema {
		return schemaError(r.Path, tx)
	}
	for _, name := range [][]byte{bucketMeta, bucketState, bucketMinutes, bucketHours, bucketBoots} {
		if tx.Bucket(name) == nil {
			r.problem("bucket %q is missing", name)
		}
	}
	if len(r.Problems) > 0 {
		return nil
	}
	meta := tx.Bucket(bucketMeta)
	var id storeID
	if copy(id[:], meta.Get(keyStore)) != len(id) {
		r.problem("meta: the store's id is missing")
	}
	r.Store = id.String()
	if v := meta.Get(keyCreated); len(v) == 8 {
		r.Created = time.Unix(int64(binary.BigEndian.Uint64(v)), 0) // #nosec G115 -- bits kept
	}
	boots := make(map[uint32]bool)
	_ = tx.Bucket(bucketBoots).ForEach(func(k, v []byte) error {
		var b storepb.Boot
		if err := c.open(v, &b); err != nil || len(k) != 4 {
			r.problem("boots: %x: %v", k, err)
			return nil
		}
		boots[bigEndian32(k)] = true
		return nil
	})
	r.Boots = len(boots)
	r.Minutes = r.points(tx, bucketMinutes, Minute, boots, c)
	r.Hours = r.points(tx, bucketHours, Hour, boots, c)
	r.state(tx, id, c)
	return nil
}

// points checks a bucket of points and counts them.
func (r *Report) points(tx *bolt.Tx, name []byte, width time.Duration, boots map[uint32]bool, c *codec) (n uint64) {
	var last []byte
	_ = tx.Bucket(name).ForEach(func(k, v []byte) error {
		n++
		id, err := parseKey(k)
		if err == nil && last != nil && bytes.Compare(last, k) >= 0 {
			err = errors.New("out of order")
		}
		last = append(last[:0], k...)
		if err == nil && !boots[id.boot] {
			err = fmt.Errorf("boot %d is not known", id.boot)
		}
		var b storepb.Block
		if err == nil {
			err = c.open(v, &b)
		}
		points := 0
		if err == nil {
			err = walkBlock(&b, nil, func(h head, _ []Value) {
				points++
				if keyOf(id.boot, h.boottime, width) != id {
					r.problem("%s: %x: its point began at %v", name, k, h.boottime)
				}
			})
		}
		if err == nil && points != 1 {
			err = fmt.Errorf("%d points", points)
		}
		if err != nil {
			r.problem("%s: %x: %v", name, k, err)
		}
		return nil
	})
	return n
}

func (r *Report) state(tx *bolt.Tx, id storeID, c *codec) {
	blob := tx.Bucket(bucketState).Get(keyState)
	if blob == nil {
		return // nothing was committed yet
	}
	var st storepb.State
	if err := c.open(blob, &st); err != nil {
		r.problem("state: %v", err)
		return
	}
	ledger, err := unpackLedger(st.Ledger)
	if err != nil {
		r.problem("state: ledger: %v", err)
	}
	if err := walkBlock(st.Pending, nil, func(head, []Value) {}); err != nil {
		r.problem("state: waiting minutes: %v", err)
	}
	if !bytes.Equal(st.Store, id[:]) {
		r.problem("state: it is of store %x", st.Store)
	}
	if st.Minutes != r.Minutes || st.Hours != r.Hours {
		r.problem("state: counts %d minutes and %d hours, and there are %d and %d", st.Minutes, st.Hours, r.Minutes, r.Hours)
	}
	for _, z := range ledger.Zones {
		if z.Agents+z.System+z.Idle+z.Unattributed != z.Metered {
			r.problem("ledger: zone %s %d (%s): the parts do not sum to what was metered", z.Zone.Name, z.Zone.Socket, z.Zone.Source)
		}
	}
	r.Accounts, r.Zones, r.Generation = len(ledger.Accounts), len(ledger.Zones), st.Generation
}
