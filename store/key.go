package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// key places a point: the boot and the number of the minute or hour since it.
// Keys are in the order in which things happened, whatever the wall clock said.
type key struct{ boot, index uint32 }

// keyOf returns the key of a boottime at a width.
func keyOf(boot uint32, boottime, width time.Duration) key {
	return key{boot, uint32(min(max(boottime, 0)/width, math.MaxUint32))} // #nosec G115 -- bounded
}

func (k key) bytes() []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, k.boot), k.index)
}

func (k key) less(o key) bool {
	return k.boot < o.boot || k.boot == o.boot && k.index < o.index
}

func parseKey(b []byte) (key, error) {
	if len(b) != 8 {
		return key{}, fmt.Errorf("key %x is not 8 bytes", b)
	}
	return key{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}, nil
}

// hour is the hour that a minute lies in.
func (k key) hour() key { return key{k.boot, k.index / 60} }

const (
	// maxSeconds bounds the wall clocks that can be stored, 190 years before
	// and after 1970, and maxBoottime the uptimes, 95 years: no sum or
	// difference of the two overflows.
	maxSeconds  = 6_000_000_000
	maxBoottime = 3_000_000_000 * time.Second
	// earliest is when this was written: no right clock is before it.
	earliest = 1_750_000_000 * int64(time.Second)
	// latest is 2100: no right clock that this code will see is after it.
	latest = 4_102_444_800 * int64(time.Second)
)

// wallNanoseconds never overflows: a clock beyond what can be stored is
// brought to its edge.
func wallNanoseconds(t time.Time) int64 {
	s := t.Unix()
	if s > maxSeconds || s < -maxSeconds {
		return max(-maxSeconds, min(maxSeconds, s)) * int64(time.Second)
	}
	return t.UnixNano()
}

// plausible says whether a wall clock can be right.
func plausible(wall int64) bool { return wall >= earliest && wall < latest }

func bigEndian32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
