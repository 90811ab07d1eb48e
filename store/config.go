package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Defaults of Config.
const (
	DefaultMaxBytes    = 64 << 20
	DefaultCommitEvery = time.Minute
	DefaultRingBytes   = 3 << 20
	DefaultMinutes     = 7 * 24 * 60
	DefaultHours       = 365 * 24
	// MinMaxBytes is the least cap that Open accepts.
	MinMaxBytes = 1 << 20
)

// Config says where and how much. The zero value of every field but Dir is its
// default.
type Config struct {
	// Dir is the state directory; it is made when missing.
	Dir string
	// MaxBytes caps all that the store keeps in Dir: the database, a copy
	// while it compacts, and a quarantined file.
	MaxBytes int64
	// LiveDir is where the live copy goes; it should be a tmpfs. Empty: the
	// first tmpfs of Dir, /run/cam-node (as root), $XDG_RUNTIME_DIR, /dev/shm.
	LiveDir string
	// CommitEvery is how often flash is written, and what a power cut may cost.
	CommitEvery time.Duration
	// RingBytes caps the one-second ring in memory.
	RingBytes int
	// Minutes and Hours are how many points of each are kept.
	Minutes, Hours int
	// BootID names this boot of the kernel. Empty: what the kernel says
	// (/proc/sys/kernel/random/boot_id).
	BootID string
	// LockTimeout is how long to wait for another process to let go of the
	// database. Default 1 s.
	LockTimeout time.Duration
	// Writer is this program's version. It is kept in the database, so that an
	// older program that must refuse it can say which one it needs.
	Writer string
	// Log is told of what is quarantined, degraded and recovered. Nil: nobody.
	Log *slog.Logger

	noSync bool // tests that simulate a year
}

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("store: no state directory given")
	}
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&c.RingBytes, DefaultRingBytes)
	set(&c.Minutes, DefaultMinutes)
	set(&c.Hours, DefaultHours)
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.CommitEvery == 0 {
		c.CommitEvery = DefaultCommitEvery
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if c.MaxBytes < MinMaxBytes {
		return c, fmt.Errorf("store: a cap of %d bytes is too small; give at least %d", c.MaxBytes, MinMaxBytes)
	}
	if c.CommitEvery < 0 || c.RingBytes < 0 || c.Minutes < 0 || c.Hours < 0 || c.LockTimeout < 0 {
		return c, errors.New("store: sizes and times in the configuration must not be negative")
	}
	return c, nil
}
