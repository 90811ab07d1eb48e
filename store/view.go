package store

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/cam-os/edge/store/internal/storepb"
)

// view is what Series reads: an unchanging picture of what is in memory, and
// the database.
type view struct {
	s       *Store
	sealed  []ringBlock
	open    *storepb.Block
	pending *storepb.Block
	boot    uint32
	now     int64            // wall clock of the latest point
	boots   map[uint32]int64 // the offsets to trust; 0 unknown
	order   []uint32
}

func (s *Store) view() (*view, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	v := &view{s: s, boot: s.boot, boots: map[uint32]int64{s.boot: s.offset}}
	v.sealed, v.open = s.ring.snapshot()
	var b builder
	for _, k := range s.pendingKeys() {
		b.cell(s.pending[k])
	}
	v.pending = b.finish()
	last := b.last
	v.now = v.wall(last)
	return v, nil
}

func (v *view) readBoots() error {
	offset := v.boots[v.boot]
	err := v.s.scan(bucketBoots, nil, nil, func(k, blob []byte) error {
		var b storepb.Boot
		if err := v.s.codec.open(blob, &b); err != nil || len(k) != 4 {
			return nil // a boot without an offset: its points' own clocks count
		}
		v.boots[bigEndian32(k)] = b.Offset
		return nil
	})
	if offset != 0 {
		v.boots[v.boot] = offset
	}
	for boot := range v.boots {
		v.order = append(v.order, boot)
	}
	slices.Sort(v.order)
	return err
}

func (v *view) wall(h head) int64 {
	if o := v.boots[h.boot]; o != 0 {
		return addWall(o, h.boottime)
	}
	return addWall(h.offset, h.boottime)
}

func addWall(offset int64, d time.Duration) int64 {
	if s := offset + int64(d); s >= offset {
		return s
	}
	return math.MaxInt64
}

var errStop = errors.New("stop")

// oldest returns the wall clock of the oldest point that overlaps the query;
// MaxInt64 if none does.
func (v *view) oldest(width time.Duration, q query) (int64, error) {
	oldest := int64(math.MaxInt64)
	q.want = func(string) bool { return false }
	err := v.each(width, q, func(h head, _ []Value) error {
		oldest = min(oldest, v.wall(h))
		if width != Second {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return oldest, err
}

// collect adds the points up by step.
func (v *view) collect(width time.Duration, q query) ([]Point, error) {
	type slot struct {
		wall int64
		cell
	}
	var slots []*slot
	byStep := make(map[int64]*slot)
	err := v.each(width, q, func(h head, values []Value) error {
		wall := v.wall(h)
		if q.step > width {
			// By the stored point's place, which has no jitter.
			at := h
			if width > Second {
				at.boottime -= at.boottime % width
			}
			i := floorDiv(v.wall(at), int64(q.step))
			if byStep[i] == nil {
				byStep[i] = &slot{wall: i * int64(q.step)}
				slots = append(slots, byStep[i])
			}
			byStep[i].add(h, values)
			return nil
		}
		sl := &slot{wall: wall}
		sl.add(h, values)
		slots = append(slots, sl)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(slots, func(a, b *slot) int {
		if a.wall < b.wall {
			return -1
		} else if a.wall > b.wall {
			return 1
		}
		return 0
	})
	points := make([]Point, len(slots))
	for i, sl := range slots {
		points[i] = Point{Start: time.Unix(0, sl.wall), Boottime: sl.boottime, Covered: sl.covered, Values: sl.list()}
	}
	return points, nil
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// each visits the stored points of a width that overlap the query.
func (v *view) each(width time.Duration, q query, visit func(head, []Value) error) error {
	var failed error
	inside := func(h head, values []Value) {
		wall := v.wall(h)
		if failed == nil && wall < q.to && addWall(wall, max(h.covered, 1)) > q.from {
			failed = visit(h, values)
		}
	}
	stored := func(name []byte, width time.Duration, from map[uint32]uint32) error {
		for _, boot := range v.order {
			lo, hi := v.span(boot, width, q)
			lo = max(lo, from[boot])
			err := v.s.scan(name, key{boot, lo}.bytes(), key{boot, hi}.bytes(), func(_, blob []byte) error {
				var b storepb.Block
				err := v.s.codec.open(blob, &b)
				if err == nil {
					err = walkBlock(&b, q.want, func(h head, values []Value) {
						h.boot = boot
						inside(h, values)
					})
				}
				if err != nil {
					v.s.damaged.Add(1) // one lost point is no reason to show none
				}
				return failed
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	switch width {
	case Second:
		return v.eachRing(q, inside, &failed)
	case Hour:
		if err := stored(bucketHours, Hour, nil); err != nil {
			return err
		}
		// And the minutes of hours that are not summed yet.
		after, err := v.afterHours()
		if err != nil {
			return err
		}
		if err := stored(bucketMinutes, Minute, after); err != nil {
			return err
		}
	default:
		if err := stored(bucketMinutes, Minute, nil); err != nil {
			return err
		}
	}
	if err := walkBlock(v.pending, q.want, inside); err != nil {
		return err
	}
	return failed
}

// afterHours gives, by boot, the minute after the last hour that was summed.
func (v *view) afterHours() (map[uint32]uint32, error) {
	after := make(map[uint32]uint32)
	err := v.s.read(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketHours)
		if b == nil {
			return nil
		}
		for _, boot := range v.order {
			c := b.Cursor()
			k, _ := c.Seek(key{boot + 1, 0}.bytes())
			if k == nil {
				k, _ = c.Last()
			} else {
				k, _ = c.Prev()
			}
			if len(k) == 8 && bigEndian32(k) == boot {
				after[boot] = (bigEndian32(k[4:]) + 1) * 60
			}
		}
		return nil
	})
	return after, err
}

// span is the range of indices, inclusive, that a boot's points of a width can
// have within the query. All of them, where the boot's clock is not known.
func (v *view) span(boot uint32, width time.Duration, q query) (lo, hi uint32) {
	offset := v.boots[boot]
	if offset == 0 {
		return 0, math.MaxUint32
	}
	// A point may have been covered for longer than its width (a suspended
	// machine), so look further back than that; inside decides.
	return keyOf(0, subWall(q.from, offset)-2*width, width).index, keyOf(0, subWall(q.to, offset), width).index
}

func subWall(wall, offset int64) time.Duration {
	d := wall - offset
	switch {
	case offset > 0 && d > wall:
		return math.MinInt64 / 2
	case offset < 0 && d < wall:
		return math.MaxInt64
	}
	return time.Duration(max(d, math.MinInt64/2))
}

func (v *view) eachRing(q query, inside func(head, []Value), failed *error) error {
	for _, block := range v.sealed {
		// One boot and one offset: skip what lies outside without unpacking.
		if v.wall(head{boot: v.boot, boottime: block.last}) < q.from-int64(Hour) && v.boots[v.boot] != 0 {
			continue
		}
		var b storepb.Block
		if err := v.s.codec.open(block.blob, &b); err != nil {
			return fmt.Errorf("store: the ring in memory: %w", err)
		}
		if err := walkBlock(&b, q.want, inside); err != nil {
			return err
		}
		if *failed != nil {
			return *failed
		}
	}
	if err := walkBlock(v.open, q.want, inside); err != nil {
		return err
	}
	return *failed
}
