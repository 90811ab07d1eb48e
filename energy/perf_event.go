package energy

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"path"
	"strconv"
	"strings"
)

// factor turns counts into microjoules: × num ÷ 2^shift.
type factor struct {
	num   uint64
	shift uint
}

// readEvent reads an event's code and scale.
func readEvent(root *os.Root, event string) (config uint64, s factor, err error) {
	file := path.Join(pmuDir, "events", event)
	text, err := readWord(root, file)
	if err != nil {
		return 0, s, err
	}
	if config, err = parseEvent(text); err != nil {
		return 0, s, err
	}
	if unit, err := readWord(root, file+".unit"); err != nil || unit != "Joules" {
		return 0, s, fmt.Errorf("its unit is %q, not Joules", clip([]byte(unit)))
	}
	if text, err = readWord(root, file+".scale"); err != nil {
		return 0, s, fmt.Errorf("its scale cannot be read")
	}
	s, err = parseScale(text)
	return config, s, err
}

// parseEvent reads "event=0x02".
func parseEvent(text string) (uint64, error) {
	code, ok := strings.CutPrefix(text, "event=0x")
	config, err := strconv.ParseUint(code, 16, 8)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is no event=0xNN", clip([]byte(text)))
	}
	return config, nil
}

// parseScale reads the joules of one count. The product is exact, as the
// kernel's 2^-32 is.
func parseScale(text string) (factor, error) {
	joules, err := strconv.ParseFloat(text, 64)
	if err != nil || !(joules > 1e-15 && joules < 1) {
		return factor{}, fmt.Errorf("scale %q is not the joules of a count", clip([]byte(text)))
	}
	fraction, exponent := math.Frexp(joules * 1e6) // in [0.5, 1) × 2^exponent
	const digits = 53
	return factor{num: uint64(math.Ldexp(fraction, digits)), shift: uint(digits - exponent)}, nil // #nosec G115 -- exponent is from -29 to 20
}

// of converts a count; it saturates.
func (f factor) of(count uint64) Microjoules {
	hi, lo := bits.Mul64(count, f.num)
	switch {
	case f.shift >= 64:
		return Microjoules(hi >> (f.shift - 64))
	case hi>>f.shift != 0:
		return math.MaxUint64
	}
	return Microjoules(hi<<(64-f.shift) | lo>>f.shift)
}

// parseCPUs reads a list as "0,18" or "0-3".
func parseCPUs(text string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(first, 10, 15)
		b := a
		if err == nil && isRange {
			b, err = strconv.ParseUint(last, 10, 15)
		}
		if err != nil || b < a || len(cpus)+int(b-a) > maxZones { // #nosec G115 -- 15 bits
			return nil, fmt.Errorf("%q is no list of CPUs", clip([]byte(text)))
		}
		for ; a <= b; a++ {
			cpus = append(cpus, int(a)) // #nosec G115 -- 15 bits
		}
	}
	return cpus, nil
}
