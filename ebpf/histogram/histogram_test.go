package histogram

import (
	"testing"
	"time"
)

func TestLog2(t *testing.T) {
	var h Log2
	if h.Quantile(0.5) != 0 || h.Count() != 0 {
		t.Error("an empty one has a median")
	}
	h.Counts[0], h.Counts[3], h.Counts[Buckets-1] = 5, 4, 1
	h.Sum = time.Second
	for q, want := range map[float64]time.Duration{0.01: time.Microsecond, 0.5: time.Microsecond, 0.9: 8 * time.Microsecond, 1: time.Microsecond << (Buckets - 2)} {
		if got := h.Quantile(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	later := h
	later.Add(h)
	if got := later.Since(h); got != h {
		t.Errorf("twice less once is %v", got)
	}
	if got := h.Since(later); got.Count() != 0 || got.Sum != 0 {
		t.Errorf("once less twice is %v, want nothing", got)
	}
	if got := h.Highest(later); got != later {
		t.Errorf("the higher is %v", got)
	}
	if Bound(Buckets-1) != 0 || Bound(-1) != 0 || Bound(0) != time.Microsecond {
		t.Error("bounds are wrong")
	}
}
