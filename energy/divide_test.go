package energy_test

import (
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cam-os/edge/energy"
	"pgregory.net/rapid"
)

// anyEnergy draws both everyday and extreme amounts.
func anyEnergy() *rapid.Generator[energy.Microjoules] {
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) energy.Microjoules { return energy.Microjoules(rapid.Uint64Max(1e9).Draw(t, "µJ")) }),
		rapid.Custom(func(t *rapid.T) energy.Microjoules { return energy.Microjoules(rapid.Uint64().Draw(t, "µJ")) }),
	)
}

func anyWeight() *rapid.Generator[uint64] {
	return rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64Max(10), rapid.Uint64Max(1e10), rapid.Uint64())
}

func TestDivideIsExactAndFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		metered, idle := anyEnergy().Draw(t, "metered"), anyEnergy().Draw(t, "idle")
		weights := rapid.SliceOfN(anyWeight(), 0, 40).Draw(t, "weights")
		nobody := anyWeight().Draw(t, "nobody")

		before := slices.Clone(weights)
		parts := energy.Divide(metered, idle, weights, nobody)
		if !slices.Equal(before, weights) {
			t.Fatal("Divide changed its input")
		}
		if len(parts.Shares) != len(weights) {
			t.Fatalf("%d shares for %d weights", len(parts.Shares), len(weights))
		}
		if want := min(idle, metered); parts.Idle != want {
			t.Fatalf("idle %d, want %d", parts.Idle, want)
		}

		// The sum is exact, without overflow.
		got := big.NewInt(0)
		weightSum := new(big.Int).SetUint64(nobody)
		for i, s := range parts.Shares {
			got.Add(got, new(big.Int).SetUint64(uint64(s)))
			weightSum.Add(weightSum, new(big.Int).SetUint64(weights[i]))
		}
		got.Add(got, new(big.Int).SetUint64(uint64(parts.Idle)))
		got.Add(got, new(big.Int).SetUint64(uint64(parts.Unattributed)))
		if got.Cmp(new(big.Int).SetUint64(uint64(metered))) != 0 {
			t.Fatalf("parts sum to %v of %d", got, metered)
		}
		if weightSum.Sign() == 0 {
			if parts.Unattributed != metered-parts.Idle {
				t.Fatalf("nobody ran, yet only %d is unattributed", parts.Unattributed)
			}
			return
		}
		if !weightSum.IsUint64() {
			return // halved; only the sum is promised
		}

		// Nobody is off by a whole microjoule: |share*sum - active*weight| < sum.
		active := new(big.Int).SetUint64(uint64(metered - parts.Idle))
		near := func(share energy.Microjoules, weight uint64) bool {
			exact := new(big.Int).Mul(active, new(big.Int).SetUint64(weight))
			given := new(big.Int).Mul(weightSum, new(big.Int).SetUint64(uint64(share)))
			return given.Sub(given, exact).CmpAbs(weightSum) < 0
		}
		for i := range weights {
			if !near(parts.Shares[i], weights[i]) {
				t.Fatalf("share %d of weight %d is not within 1 µJ", parts.Shares[i], weights[i])
			}
			for j := range weights {
				if weights[i] > weights[j] && parts.Shares[i] < parts.Shares[j] {
					t.Fatalf("weight %d got %d, less weight %d got %d", weights[i], parts.Shares[i], weights[j], parts.Shares[j])
				}
			}
		}
		if !near(parts.Unattributed, nobody) {
			t.Fatalf("nobody's %d of weight %d is not within 1 µJ", parts.Unattributed, nobody)
		}
	})
}

// Whoever is listed first gains at most the tie.
func TestDivideDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		metered := anyEnergy().Draw(t, "metered")
		weights := rapid.SliceOfN(rapid.Uint64Max(1e12), 1, 30).Draw(t, "weights")
		nobody := rapid.Uint64Max(1e12).Draw(t, "nobody")
		order := rapid.Permutation(indices(len(weights))).Draw(t, "order")

		shuffled := make([]uint64, len(weights))
		for to, from := range order {
			shuffled[to] = weights[from]
		}
		a := energy.Divide(metered, 0, weights, nobody)
		b := energy.Divide(metered, 0, shuffled, nobody)
		for to, from := range order {
			x, y := a.Shares[from], b.Shares[to]
			if max(x, y)-min(x, y) > 1 {
				t.Fatalf("weight %d: %d in one order, %d in another", weights[from], x, y)
			}
			if x != y && !slices.Contains(slices.Delete(slices.Clone(weights), from, from+1), weights[from]) && !sharesRemainder(metered, weights, nobody, from) {
				t.Fatalf("weight %d has no tie, yet got %d and %d", weights[from], x, y)
			}
		}
	})
}

// sharesRemainder reports whether another weight's quotient has the same
// remainder as weights[i]: a tie.
func sharesRemainder(metered energy.Microjoules, weights []uint64, nobody uint64, i int) bool {
	sum := new(big.Int).SetUint64(nobody)
	for _, w := range weights {
		sum.Add(sum, new(big.Int).SetUint64(w))
	}
	rest := func(w uint64) *big.Int {
		p := new(big.Int).Mul(new(big.Int).SetUint64(uint64(metered)), new(big.Int).SetUint64(w))
		return p.Mod(p, sum)
	}
	mine := rest(weights[i])
	for j, w := range weights {
		if j != i && rest(w).Cmp(mine) == 0 {
			return true
		}
	}
	return rest(nobody).Cmp(mine) == 0
}

func indices(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestDivide(t *testing.T) {
	for _, c := range []struct {
		name          string
		metered, idle energy.Microjoules
		weights       []uint64
		nobody        uint64
		want          energy.Parts
	}{
		{"nobody ran", 100, 30, []uint64{0, 0}, 0, energy.Parts{Idle: 30, Unattributed: 70, Shares: []energy.Microjoules{0, 0}}},
		{"no consumers", 100, 30, nil, 0, energy.Parts{Idle: 30, Unattributed: 70, Shares: []energy.Microjoules{}}},
		{"idle above metered", 100, 130, []uint64{1}, 0, energy.Parts{Idle: 100, Shares: []energy.Microjoules{0}}},
		{"tie goes to the lower index", 1, 0, []uint64{5, 5}, 0, energy.Parts{Shares: []energy.Microjoules{1, 0}}},
		{"nobody loses ties", 1, 0, []uint64{5}, 5, energy.Parts{Shares: []energy.Microjoules{1}}},
		{"largest remainder first", 10, 0, []uint64{1, 1, 5}, 0, energy.Parts{Shares: []energy.Microjoules{2, 1, 7}}},
		{"overflow has no name", 90, 0, []uint64{1, 1}, 1, energy.Parts{Unattributed: 30, Shares: []energy.Microjoules{30, 30}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := energy.Divide(c.metered, c.idle, c.weights, c.nobody)
			if got.Idle != c.want.Idle || got.Unattributed != c.want.Unattributed || !slices.Equal(got.Shares, c.want.Shares) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func BenchmarkDivide(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	weights := make([]uint64, 200)
	for i := range weights {
		weights[i] = r.Uint64N(1e9)
	}
	b.ReportAllocs()
	for b.Loop() {
		energy.Divide(50_000_000, 10_000_000, weights, 0)
	}
}
