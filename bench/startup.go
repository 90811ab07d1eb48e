package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// startup is from exec to the first sample, and to "node is up".
func (b *bench) startup(ctx context.Context) error {
	runs := 7
	if b.quick {
		runs = 5
	}
	var first, up []time.Duration
	for range runs {
		n, err := b.rig.StartNode(ctx, "")
		if err != nil {
			return err
		}
		first, up = append(first, n.First), append(up, n.Up)
		if err := n.Stop(); err != nil {
			return err
		}
	}
	b.add(row{
		What:     "Start to the first sample: from exec to the first observation on the socket",
		Measured: milliseconds(median(first)), Target: "≤ 300 ms", Met: verdict(median(first) <= 300*time.Millisecond),
		Against: fmt.Sprintf("median of %d starts, slowest %s; to \"node is up\", with the first interval measured: %s",
			runs, milliseconds(slices.Max(first)), milliseconds(median(up))),
	})
	return nil
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// median of an odd or even number of values; 0 of none.
func median[T ~int64 | ~float64](v []T) T {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
