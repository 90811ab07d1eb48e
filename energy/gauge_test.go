package energy

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever a gauge shows and whenever it is looked at: its total never goes
// back, never exceeds what the bound allows, and each refusal is counted.
func TestGaugeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &gauge{limit: 500_000_000, ceiling: defaultLimit, rated: Microwatts(rapid.Uint64Max(400_000_000).Draw(t, "rated"))}
		var at, asleep time.Duration
		for range rapid.IntRange(1, 60).Draw(t, "readings") {
			step := time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "step"))
			at += step
			asleep += time.Duration(rapid.Int64Range(0, int64(step)).Draw(t, "asleep"))
			before, faults := g.total, g.faults
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				g.refuse("cannot be read")
			case 1:
				g.pause("charging", at)
			default:
				g.take(Microwatts(rapid.OneOf(rapid.Uint64Max(50_000_000), rapid.Uint64()).Draw(t, "power")), at, asleep)
			}
			if g.total < before {
				t.Fatalf("went back from %d to %d", before, g.total)
			}
			if most := g.ceiling.Over(at - asleep); g.total > most {
				t.Fatalf("%d µJ, at most %d", g.total, most)
			}
			if g.state == Lost && g.faults == faults {
				t.Fatal("a refusal was not counted")
			}
			if s := g.sampling(); s < 0 || s > 1 || math.IsNaN(s) {
				t.Fatalf("error %v", s)
			}
		}
	})
}

// The stated sampling error is that of a step at an unknown moment: over many
// of them, the true error is as large as stated.
func TestSamplingErrorIsTrue(t *testing.T) {
	const low, high, n = 5_000_000, 25_000_000, 4000
	g := &gauge{limit: defaultLimit, ceiling: defaultLimit}
	var at time.Duration
	g.take(low, at, 0)
	squares, stated := 0.0, 0.0
	power, next := Microwatts(low), Microwatts(high)
	random := uint64(1)
	for range n {
		random = random*6364136223846793005 + 1442695040888963407 // an LCG: Knuth's MMIX
		moment := float64(random>>11) / (1 << 53)
		truth := float64(power)*moment + float64(next)*(1-moment) // µJ in the second
		before := g.total
		at += time.Second
		g.take(next, at, 0)
		off := float64(g.total-before) - truth
		squares += off * off
		stated += float64(high-low) * float64(high-low) / 12
		power, next = next, power
	}
	if ratio := math.Sqrt(squares / stated); ratio < 0.95 || ratio > 1.05 {
		t.Errorf("the true error is %.2f of the stated one", ratio)
	}
	// Of recent intervals together: √(n)·step/√12 ÷ (n·mean), n = 16.
	if want, got := 20/math.Sqrt(12)/15/4, g.sampling(); math.Abs(got-want) > 0.01 {
		t.Errorf("stated %.3f, want %.3f", got, want)
	}
}

// A rating that readings contradict is given up, as a counter's is.
func TestGaugeRatingIsWrong(t *testing.T) {
	g := &gauge{limit: leastLimit, ceiling: defaultLimit}
	for s := range 10 {
		g.take(600_000_000, time.Duration(s)*time.Second, 0)
	}
	if g.faults != enoughDoubts || g.total.Joules() != 600*(10-enoughDoubts-1) || g.state != Fresh {
		t.Errorf("%+v", g)
	}
}

// Suspended time counts for nothing.
func TestGaugeSuspended(t *testing.T) {
	g := &gauge{limit: defaultLimit, ceiling: defaultLimit}
	g.take(10_000_000, 0, 0)
	g.take(10_000_000, time.Second, 0)
	g.take(10_000_000, time.Hour, time.Hour-2*time.Second)
	if g.total.Joules() != 20 || g.faults != 0 {
		t.Errorf("%+v", g)
	}
}
