package store

import (
	"time"

	"github.com/cam-os/edge/store/internal/storepb"
)

const (
	ringSpan   = time.Hour
	ringPoints = 60 // points in a sealed block
	// ringCells seals a block before its time: columns of 8 MB, unpacked.
	ringCells = 1 << 20
)

// ring holds the finest points of the last hour, in memory, packed. The oldest
// go when the hour or the byte cap is reached.
type ring struct {
	maxBytes int
	blocks   []ringBlock
	bytes    int
	open     builder
	first    time.Duration // boottime of the first point in open
	dropped  uint64        // points that the cap cost before their time
}

type ringBlock struct {
	first, last time.Duration // boottime of its first and last point's start
	points      int
	blob        []byte
}

func (r *ring) add(c *codec, h head, values []Value) error {
	if r.open.len() == 0 {
		r.first = h.boottime
	}
	r.open.point(h)
	for _, v := range values {
		r.open.value(v)
	}
	if r.open.len() < ringPoints && r.open.cells() < ringCells {
		return nil
	}
	blob, err := c.sealBlock(&r.open)
	if tooLarge(err) { // by this point: those before it were below ringCells
		r.dropped += uint64(r.open.len()) // #nosec G115 -- a small count
		r.open = builder{}
		return nil
	}
	if err != nil {
		return err
	}
	// The appended columns grew by doubling; a block of exact size stays.
	r.blocks = append(r.blocks, ringBlock{r.first, h.boottime, r.open.len(), append([]byte(nil), blob...)})
	r.bytes += len(blob)
	r.open = builder{}
	r.expire(h.boottime)
	return nil
}

func (r *ring) expire(now time.Duration) {
	for len(r.blocks) > 1 {
		old := r.blocks[0]
		// An hour by time for whole seconds, by count for shorter intervals or
		// a clock that went back.
		aged := now-old.last > ringSpan || len(r.blocks) > int(ringSpan/time.Second)
		if !aged && r.bytes <= r.maxBytes {
			return
		}
		if !aged {
			r.dropped += uint64(old.points) // #nosec G115 -- a small count
		}
		r.bytes -= len(old.blob)
		r.blocks[0].blob = nil
		r.blocks = r.blocks[1:]
	}
}

// snapshot returns what the ring holds; neither is changed by later adds.
func (r *ring) snapshot() (sealed []ringBlock, open *storepb.Block) {
	return append([]ringBlock(nil), r.blocks...), r.open.finish()
}
