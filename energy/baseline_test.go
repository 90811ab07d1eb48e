package energy_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/cam-os/edge/energy"
	"pgregory.net/rapid"
)

// line is a zone that draws idle, and more in proportion to utilisation.
type line struct{ idle, max energy.Microwatts }

// observe lets b see n seconds at a utilisation in permille, plus extra power.
func (l line) observe(b *energy.Baseline, n int, permille uint64, extra energy.Microwatts) {
	const cpus = 4
	for range n {
		power := l.idle + (l.max-l.idle)*energy.Microwatts(permille)/1000 + extra
		b.Observe(power.Over(time.Second), time.Second, time.Duration(permille)*cpus*time.Millisecond, cpus)
	}
}

func near(got, want energy.Microwatts, permille uint64) bool {
	return max(got, want)-min(got, want) <= want*energy.Microwatts(permille)/1000
}

func TestBaseline(t *testing.T) {
	l := line{10_000_000, 50_000_000}
	for _, c := range []struct {
		name string
		see  func(*energy.Baseline)
		want energy.Microwatts
		note string
	}{
		{"nothing", func(*energy.Baseline) {}, 0, "not learned yet"},
		{"quiet", func(b *energy.Baseline) { l.observe(b, 60, 0, 0) }, l.idle, "learned from quiet intervals"},
		{"too short a look", func(b *energy.Baseline) { l.observe(b, 3, 0, 0) }, 0, "not learned yet"},
		{"never quiet, two levels", func(b *energy.Baseline) { l.observe(b, 60, 250, 0); l.observe(b, 60, 600, 0) }, l.idle,
			"extrapolated from intervals at 25% and 60% utilisation, likely too high"},
		{"never quiet, one level", func(b *energy.Baseline) { l.observe(b, 60, 300, 0) }, 0,
			"not learned yet: the zone was never quiet, nor at two levels of utilisation"},
		{"always busy", func(b *energy.Baseline) { l.observe(b, 60, 600, 0); l.observe(b, 60, 900, 0) }, 0,
			"not learned yet: the zone was never quiet, nor at two levels of utilisation"},
		{"does not depend on utilisation", func(b *energy.Baseline) {
			line{3_000_000, 3_000_000}.observe(b, 60, 250, 0)
			line{3_000_000, 3_000_000}.observe(b, 60, 800, 0)
		}, 3_000_000, "extrapolated from intervals at 25% and 80% utilisation, likely too high"},
		{"nearly quiet, with a busy level", func(b *energy.Baseline) { l.observe(b, 60, 15, 0); l.observe(b, 60, 500, 0) }, l.idle, "learned from quiet intervals"},
		{"noise above", func(b *energy.Baseline) {
			for i := range 60 {
				l.observe(b, 5, 0, energy.Microwatts(i%7)*1_000_000)
			}
		}, 10_060_000, "learned from quiet intervals"},
		{"one false reading", func(b *energy.Baseline) {
			l.observe(b, 60, 0, 0)
			b.Observe(0, time.Second, 0, 4)
			b.Observe(9_000_000, time.Second, 0, 4) // a late counter
			b.Observe(1, 8*time.Hour, 0, 4)         // suspended
			for range 20 {
				l.observe(b, 1, 0, 0)
			}
			b.Observe(5_000_000, 2*time.Second, 0, 4) // a reset in its first half
			b.Observe(1<<63, time.Second, 0, 4)
			b.Observe(5, -time.Second, 0, 4)
			b.Observe(5, time.Second, -1, 4)
			b.Observe(5, time.Second, 0, 0)
		}, 9_750_000, "learned from quiet intervals"},
		{"the machine changed", func(b *energy.Baseline) { l.observe(b, 60, 0, 0); line{6_000_000, 50_000_000}.observe(b, 40, 0, 0) }, 6_000_000, "learned from quiet intervals"},
		{"a summer", func(b *energy.Baseline) {
			l.observe(b, 60, 0, 0)
			line{12_000_000, 50_000_000}.observe(b, 6*3600, 0, 0)
		}, 12_000_000, "learned from quiet intervals"},
		{"configured wins", func(b *energy.Baseline) { l.observe(b, 60, 0, 0); b.Configured = 4_000_000 }, 4_000_000, "configured"},
		{"cheapest when busy", func(b *energy.Baseline) {
			line{20_000_000, 20_000_000}.observe(b, 60, 300, 0)
			line{25_000_000, 25_000_000}.observe(b, 60, 450, 0)
			line{8_000_000, 8_000_000}.observe(b, 60, 800, 0)
		}, 8_000_000, "extrapolated from intervals at 30% and 45% utilisation, likely too high"},
		{"below zero", func(b *energy.Baseline) {
			line{0, 50_000_000}.observe(b, 60, 200, 0)
			line{0, 90_000_000}.observe(b, 60, 600, 0)
		}, 0, "extrapolated from intervals at 20% and 60% utilisation, likely too high"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b energy.Baseline
			c.see(&b)
			if got := b.Power(); !near(got, c.want, 10) || (c.want == 0) != (got == 0) {
				t.Errorf("%d µW, want %d", got, c.want)
			}
			if b.Note() != c.note {
				t.Errorf("note %q", b.Note())
			}
		})
	}
}

// Power over utilisation is concave; the estimate errs high, and never above
// what was drawn at work.
func TestBaselineOfAConcaveZone(t *testing.T) {
	var b energy.Baseline
	lowest := energy.Microwatts(1 << 40)
	for _, permille := range []uint64{300, 550, 800} {
		u := float64(permille) / 1000
		l := line{10_000_000, 10_000_000}
		extra := energy.Microwatts(40e6 * (2*u - u*u))
		l.observe(&b, 60, permille, extra)
		lowest = min(lowest, 10_000_000+extra)
	}
	if got := b.Power(); got < 10_000_000 || got > lowest {
		t.Errorf("%d µW, idle is 10 W and the lowest drawn %d", got, lowest)
	}
}

func TestBaselineProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a, b energy.Baseline
		highest := energy.Microwatts(0)
		for range rapid.IntRange(1, 100).Draw(t, "intervals") {
			metered := anyEnergy().Draw(t, "metered")
			elapsed := time.Duration(rapid.Int64Range(-1, int64(3*time.Second)).Draw(t, "elapsed"))
			busy := time.Duration(rapid.Int64Range(-1, int64(20*time.Second)).Draw(t, "busy"))
			cpus := rapid.IntRange(0, 8).Draw(t, "cpus")
			a.Observe(metered, elapsed, busy, cpus)
			b.Observe(metered, elapsed, busy, cpus)
			if a.Power() != b.Power() {
				t.Fatal("the same observations gave two powers")
			}
			if elapsed > 0 && float64(metered)/elapsed.Seconds() < 1e12 {
				highest = max(highest, energy.Microwatts(float64(metered)/elapsed.Seconds())+1)
			}
			if p := a.Power(); p > highest {
				t.Fatalf("idle %d µW, yet never more than %d was drawn", p, highest)
			}
			if idle := a.Idle(metered, elapsed); idle > metered {
				t.Fatalf("idle %d of %d", idle, metered)
			}
			// A restart changes nothing.
			text, err := json.Marshal(b.State())
			if err != nil {
				t.Fatal(err)
			}
			var s energy.BaselineState
			if err := json.Unmarshal(text, &s); err != nil {
				t.Fatal(err)
			}
			b = energy.Baseline{}
			if err := b.Restore(s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A line is found from whatever utilisation the machine happens to have, if it
// varies, and is not above half at all times.
func TestBaselineFindsTheLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		idle := energy.Microwatts(rapid.Uint64Range(1e6, 1e8).Draw(t, "idle"))
		l := line{idle, idle + energy.Microwatts(rapid.Uint64Range(1e5, 2e8).Draw(t, "range"))}
		low := rapid.Uint64Range(0, 390).Draw(t, "low")
		high := rapid.Uint64Range(max(low+110, 400), 1000).Draw(t, "high")
		var b energy.Baseline
		for range 20 {
			l.observe(&b, rapid.IntRange(1, 5).Draw(t, "n"), low, 0)
			l.observe(&b, rapid.IntRange(1, 5).Draw(t, "m"), high, 0)
		}
		if got := b.Power(); !near(got, idle, 10) {
			t.Fatalf("%d µW, true are %d", got, idle)
		}
	})
}

func TestBaselineRefusesNonsense(t *testing.T) {
	var b energy.Baseline
	line{10_000_000, 50_000_000}.observe(&b, 60, 0, 0)
	before := b.Power()
	good := b.State()
	for _, change := range []func(*energy.BaselineState){
		func(s *energy.BaselineState) { s.Levels = s.Levels[:3] },
		func(s *energy.BaselineState) { s.Usual = -1 },
		func(s *energy.BaselineState) { s.Levels[2].Utilisation = 2_000_000 },
		func(s *energy.BaselineState) { s.Levels[2].Power = 1 << 60 },
		func(s *energy.BaselineState) { s.Levels[2].Seen = -1 },
	} {
		s := good
		s.Levels = append([]energy.Level(nil), good.Levels...)
		change(&s)
		if err := b.Restore(s); err == nil {
			t.Errorf("restored %+v", s)
		}
		if b.Power() != before {
			t.Error("a refused state changed something")
		}
	}
}
