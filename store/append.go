package store

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/cam-os/edge/store/internal/storepb"
)

// errClosed is returned after Close.
var errClosed = errors.New("store: closed")

// Append takes one interval's point and the ledger at its end. It keeps
// neither. It never panics and never fails for lack of room.
//
// An error says that something is not yet as durable as promised (a live copy
// or a due commit failed). Nothing is lost by it: the point and the ledger are
// in memory, and the next Append tries again.
func (s *Store) Append(p Point, l Ledger) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	h := s.head(p)
	s.current = keyOf(h.boot, h.boottime, time.Minute)
	s.stats.Points++
	ringErr := s.ring.add(s.codec, h, p.Values)
	s.pend(h, p.Values)
	s.ledger = packLedger(l)
	s.trim()
	s.generation++
	s.dirty = true

	liveErr := s.writeLive()
	if s.since(s.lastCommit) < s.cfg.CommitEvery && !s.lost() {
		return errors.Join(ringErr, liveErr)
	}
	return errors.Join(ringErr, liveErr, s.commit())
}

// head places a point in time, and learns the wall clock's offset from it.
func (s *Store) head(p Point) head {
	at := p.Boottime
	if at == 0 {
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
			at = time.Duration(ts.Nano()) - max(p.Covered, 0)
		}
	}
	at = min(max(at, 0), maxBoottime)
	wall := wallNanoseconds(p.Start)
	h := head{boot: s.boot, boottime: at, offset: wall - int64(at), covered: max(p.Covered, 0)}
	if plausible(wall) {
		s.offset = h.offset
	}
	return h
}

// pend adds a point to its minute.
func (s *Store) pend(h head, values []Value) {
	k := keyOf(h.boot, h.boottime, time.Minute)
	c := s.pending[k]
	if c == nil {
		c = &cell{}
		s.pending[k] = c
	}
	before := len(c.values)
	c.add(h, values)
	s.pendingValues += len(c.values) - before
	for s.pendingValues > maxPendingValues && len(s.pending) > 1 {
		s.drop(s.pendingKeys()[0])
	}
}

// drop gives up a minute that waits.
func (s *Store) drop(k key) {
	s.pendingValues -= len(s.pending[k].values)
	delete(s.pending, k)
	s.dropped++
}

// The most bytes that parts of a State take as protobuf, tags included.
const (
	maxVarint     = 10
	pointSize     = 5 * maxVarint
	valueSize     = 6 * maxVarint // without its energy and figures
	figureSize    = 2 * maxVarint
	zoneSize      = 40      // without its strings
	stateOverhead = 1 << 10 // all but the ledger, the minutes and strings
)

// trim gives up the oldest waiting minutes that the state might have no room
// for beside the ledger: the accounts come first.
func (s *Store) trim() {
	room := maxBlob - stateOverhead - len(s.bootID) - proto.Size(s.ledger)
	keys := s.pendingKeys()
	zones := make(map[Zone]struct{})
	values, size := 0, 0
	for i, k := range slices.Backward(keys) {
		size += pointSize
		values += len(s.pending[k].values)
		for name, u := range s.pending[k].values {
			size += valueSize + len(name)
			for f := range u.Figures {
				size += figureSize + len(f) + maxVarint // as if no two shared a name
			}
			for z := range u.Energy {
				if _, ok := zones[z]; !ok {
					zones[z] = struct{}{}
					size += zoneSize + len(z.Name) + len(z.Source)
				}
			}
		}
		// A block has a column for each zone, as long as all its values.
		if size+values*len(zones)*maxVarint > room {
			for _, old := range keys[:i+1] {
				s.drop(old)
			}
			return
		}
	}
}

// pendingKeys returns the minutes that wait, oldest first.
func (s *Store) pendingKeys() []key {
	keys := make([]key, 0, len(s.pending))
	for k := range s.pending {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.less(b) {
			return -1
		}
		return 1
	})
	return keys
}

// state is what a commit and the live copy write.
func (s *Store) state(pending []key) *storepb.State {
	var b builder
	for _, k := range pending {
		b.cell(s.pending[k])
	}
	return &storepb.State{
		Store: s.id[:], Generation: s.generation, Ledger: s.ledger, Pending: b.finish(),
		Boot: s.boot, BootId: s.bootID, Minutes: s.minutes, Hours: s.hours, Dropped: s.dropped,
	}
}

func (s *Store) writeLive() error {
	if s.live.path == "" {
		return nil
	}
	blob, err := s.codec.seal(s.state(s.pendingKeys()), false)
	if err != nil {
		return err
	}
	return s.live.write(blob)
}
