package energy

import (
	"cmp"
	"math/bits"
	"slices"
)

// Parts is where the energy of one zone went in one interval:
// Idle + Unattributed + the sum of Shares is what was metered, exactly.
type Parts struct {
	Idle         Microjoules
	Unattributed Microjoules
	Shares       []Microjoules // parallel to the weights
}

// Divide splits the metered energy of one zone over consumers, exactly.
//
// idle is the baseline energy of the interval; it is taken first, and capped
// at metered. What remains is split by weight (nanoseconds on a CPU of the
// zone). nobody is the weight of use that has no name; its share, and
// everything when all weights are 0, is Unattributed.
//
// Each share is within 1 µJ of the exact quotient: quotients are rounded down
// and the microjoules left over go to the largest remainders (Hamilton's
// method), ties to the lower index and to nobody last. Integers only, so the
// result is the same on every architecture.
//
// Weights whose sum passes 2^64 (584 years of CPU time) are halved together
// until it does not; the parts still sum exactly.
func Divide(metered, idle Microjoules, weights []uint64, nobody uint64) Parts {
	idle = min(idle, metered)
	active := uint64(metered - idle)
	parts := Parts{Idle: idle, Shares: make([]Microjoules, len(weights))}
	sum, shift := sumWeights(weights, nobody)
	if sum == 0 {
		parts.Unattributed = Microjoules(active)
		return parts
	}

	type remainder struct {
		index int
		value uint64
	}
	remainders := make([]remainder, 0, len(weights)+1)
	left := active
	quotient := func(index int, weight uint64) Microjoules {
		// weight <= sum, so hi < sum and Div64 cannot panic.
		hi, lo := bits.Mul64(active, weight>>shift)
		q, r := bits.Div64(hi, lo, sum)
		left -= q
		if r > 0 {
			remainders = append(remainders, remainder{index, r})
		}
		return Microjoules(q)
	}
	for i, w := range weights {
		parts.Shares[i] = quotient(i, w)
	}
	parts.Unattributed = quotient(len(weights), nobody)

	// The remainders sum to left*sum and each is below sum: there are more of
	// them than microjoules left.
	slices.SortFunc(remainders, func(a, b remainder) int {
		return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(a.index, b.index))
	})
	for _, r := range remainders[:left] {
		if r.index < len(weights) {
			parts.Shares[r.index]++
		} else {
			parts.Unattributed++
		}
	}
	return parts
}

// sumWeights returns the sum of all weights, each shifted right by shift, the
// least shift with which the sum fits 64 bits.
func sumWeights(weights []uint64, nobody uint64) (sum uint64, shift uint) {
	for ; ; shift++ {
		sum, over := nobody>>shift, uint64(0)
		for _, w := range weights {
			var carry uint64
			sum, carry = bits.Add64(sum, w>>shift, 0)
			over |= carry
		}
		if over == 0 {
			return sum, shift
		}
	}
}
