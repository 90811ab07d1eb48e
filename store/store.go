package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/cam-os/edge/store/internal/storepb"
)

// storeID tells one store from another, so that a live copy is never taken for
// another store's.
type storeID [16]byte

func (id storeID) String() string { return hex.EncodeToString(id[:]) }

// Store is open until Close. All methods may be called concurrently.
type Store struct {
	cfg   Config
	path  string
	codec *codec
	since func(time.Time) time.Duration // time.Since; tests that simulate replace it

	// opened guards db against being closed or replaced beneath a reader.
	// Taken after mu where both are.
	opened sync.RWMutex
	db     *bolt.DB    // nil while degraded
	inode  fs.FileInfo // which file db has open

	mu            sync.Mutex
	id            storeID
	boot          uint32 // ordinal of this boot
	bootID        string
	offset        int64 // latest plausible wall clock minus CLOCK_BOOTTIME
	filedBoot     int64 // the offset that the boots bucket has; 0 none
	generation    uint64
	ledger        *storepb.Ledger
	pending       map[key]*cell
	pendingValues int
	current       key // of the latest point
	minutes       uint64
	hours         uint64
	dropped       uint64
	ring          ring
	live          live
	lastCommit    time.Time // or attempt
	dirty         bool      // something was appended since the last commit
	closed        bool

	suspect atomic.Pointer[suspicion]
	damaged atomic.Uint64 // points that did not decode
	stats   Stats
}

// Open opens or makes the store in cfg.Dir, and recovers what survived.
//
// It fails when going on would harm: *LockedError, *SchemaError,
// *PermissionError, *SizeError, or a configuration that makes no sense. A corrupt
// database is moved aside and a directory that cannot be written is borne:
// the store then works in memory, says so in Stats, and tries again at every
// commit.
func Open(cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if cfg.BootID == "" {
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return nil, fmt.Errorf("store: naming this boot: %w; set Config.BootID", err)
		}
		cfg.BootID = strings.TrimSpace(string(id))
	}
	s := &Store{
		cfg: cfg, path: filepath.Join(cfg.Dir, FileName), since: time.Since,
		bootID: cfg.BootID, pending: make(map[key]*cell), ledger: &storepb.Ledger{},
		ring: ring{maxBytes: cfg.RingBytes}, lastCommit: time.Now(),
	}
	if _, err := rand.Read(s.id[:]); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if s.codec, err = newCodec(); err != nil {
		return nil, err
	}
	if err := s.recover(); err != nil {
		s.codec.close()
		return nil, err
	}
	return s, nil
}

// Ledger returns the accounts as last appended or, before the first Append, as
// they survived: empty in a new store.
func (s *Store) Ledger() (Ledger, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return unpackLedger(proto.Clone(s.ledger).(*storepb.Ledger))
}

// Close commits and lets go of the database. The live copy stays, for what a
// failed commit left over.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	err := s.commit()
	s.closed = true
	s.opened.Lock()
	defer s.opened.Unlock()
	if s.db != nil {
		err = errors.Join(err, closeDatabase(s.db))
		s.db = nil
	}
	s.codec.close()
	return err
}
