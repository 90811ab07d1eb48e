package text

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

var days = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([dw])`)

// ParseDuration reads what people write: 10m, 24h, 7d, 1d12h, 2w. A day is 24
// hours. It refuses negative times and zero.
func ParseDuration(s string) (time.Duration, error) {
	rest, sum := s, 0.0
	for {
		m := days.FindStringSubmatch(rest)
		if m == nil {
			break
		}
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, invalidDuration(s)
		}
		unit := 24 * time.Hour
		if m[2] == "w" {
			unit *= 7
		}
		sum += n * float64(unit)
		rest = rest[len(m[0]):]
	}
	var d time.Duration
	if rest != "" || s == "" {
		var err error
		if d, err = time.ParseDuration(rest); err != nil {
			return 0, invalidDuration(s)
		}
	}
	// A century is beyond every account and well within an int64.
	if total := sum + float64(d); total > float64(100*365*24*time.Hour) {
		return 0, fmt.Errorf("%q is longer than a century", s)
	}
	d += time.Duration(sum)
	if d <= 0 || rest != "" && rest[0] == '-' {
		return 0, fmt.Errorf("%q is not a positive time", s)
	}
	return d, nil
}

func invalidDuration(s string) error {
	return fmt.Errorf("%q is no duration: write for example 30s, 10m, 24h or 7d", s)
}

// Positive is a flag value (pflag.Value) that takes ParseDuration's times.
type Positive time.Duration

// Set implements pflag.Value.
func (p *Positive) Set(s string) error {
	d, err := ParseDuration(s)
	*p = Positive(d)
	return err
}

// String implements pflag.Value; empty when not set.
func (p *Positive) String() string {
	if *p == 0 {
		return ""
	}
	return Duration(time.Duration(*p))
}

// Type implements pflag.Value.
func (*Positive) Type() string { return "duration" }
