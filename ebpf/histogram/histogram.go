// Package histogram holds distributions of times as the kernel programs count
// them: in powers of two.
package histogram

import "time"

// Buckets is how many powers of two are told apart: from below 1 µs to more
// than 16 s.
const Buckets = 26

// Log2 is a distribution of times. Bucket 0 counts those below 1 µs, bucket
// i those from 2^(i-1) µs to below 2^i µs, the last one all that are longer.
// It is cumulative like any other counter: two differ by what came between.
type Log2 struct {
	Counts [Buckets]uint64
	// Sum of all times.
	Sum time.Duration
}

// Bound is the upper bound of bucket i, exclusive; 0 for the last one, which
// has none.
func Bound(i int) time.Duration {
	if i < 0 || i >= Buckets-1 {
		return 0
	}
	return time.Microsecond << i
}

// Count is how many times were counted.
func (h Log2) Count() uint64 {
	var n uint64
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Add adds what d counted.
func (h *Log2) Add(d Log2) {
	for i, c := range d.Counts {
		h.Counts[i] += c
	}
	h.Sum += d.Sum
}

// Since is what came since an earlier state; nothing in it is negative.
func (h Log2) Since(earlier Log2) Log2 {
	for i, c := range earlier.Counts {
		h.Counts[i] -= min(c, h.Counts[i])
	}
	h.Sum = max(h.Sum-earlier.Sum, 0)
	return h
}

// Highest takes the larger of each figure.
func (h Log2) Highest(o Log2) Log2 {
	for i, c := range o.Counts {
		h.Counts[i] = max(c, h.Counts[i])
	}
	h.Sum = max(h.Sum, o.Sum)
	return h
}

// Quantile returns the upper bound of the bucket in which the share q of the
// times ends, 0 when there are none. Times in the last bucket give its lower
// bound.
func (h Log2) Quantile(q float64) time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	rank, seen := max(uint64(q*float64(n)+0.5), 1), uint64(0)
	for i, c := range h.Counts {
		if seen += c; seen >= rank && i < Buckets-1 {
			return Bound(i)
		}
	}
	return Bound(Buckets - 2)
}
