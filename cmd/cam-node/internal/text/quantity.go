// Package text writes figures for people: quantities with three significant
// digits and SI prefixes, tables that fit a terminal, and sparklines.
//
// It is pure: what it returns depends on its arguments only.
package text

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Absent stands where there is no figure; it is never a zero.
const Absent = "-"

// Bytes is an amount of data with a decimal prefix: "675 MB".
func Bytes(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	return si(float64(n), "B")
}

// Count is a number without a unit: "12", "0.35", "1.20k".
func Count(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return Absent
	case v == math.Trunc(v) && v < 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v < 0.005:
		return "<0.01"
	case v < 0.9995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strings.ReplaceAll(si(v, ""), " ", "")
}

// ByteRate is data per second: "675 MB/s".
func ByteRate(perSecond float64) string {
	if perSecond > 0 && perSecond < 1000 {
		return strconv.FormatFloat(math.Ceil(perSecond), 'f', 0, 64) + " B/s"
	}
	return si(perSecond, "B/s")
}

// Watts is power with three significant digits, "12.5 W", or three decimals
// below a watt, "0.556 W": in a column of powers the eye compares numbers, not
// prefixes.
func Watts(microwatts float64) string {
	w := microwatts / 1e6
	switch {
	case w > 0 && w < 0.0005:
		return "<1 mW"
	case w > 0 && w < 0.9995:
		return strconv.FormatFloat(w, 'f', 3, 64) + " W"
	}
	return si(w, "W")
}

// Joules is energy with three significant digits: "12.3 kJ".
func Joules(microjoules uint64) string { return si(float64(microjoules)/1e6, "J") }

// WattHours is the same energy in the unit of budgets and bills: "3.42 Wh".
func WattHours(microjoules uint64) string { return si(float64(microjoules)/3600e6, "Wh") }

// Percent writes a share, 1 = 100%, with one decimal below 100%.
func Percent(share float64) string {
	p := share * 100
	switch {
	case math.IsNaN(p) || math.IsInf(p, 0):
		return Absent
	case p == 0:
		return "0%"
	case p > 0 && p < 0.05:
		return "<0.1%"
	case math.Abs(p) < 99.95:
		return strconv.FormatFloat(p, 'f', 1, 64) + "%"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + "%"
}

// Duration writes a time with its two largest units: "1h02m", "3.25s", "850ms".
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-d)
	case d == 0:
		return "0s"
	case d < time.Microsecond:
		return strconv.FormatInt(int64(d), 10) + "ns"
	case d < 999500*time.Nanosecond:
		return digits(float64(d)/1e3) + "µs"
	case d < 999500*time.Microsecond:
		return digits(float64(d)/1e6) + "ms"
	case d < 59950*time.Millisecond:
		return digits(d.Seconds()) + "s"
	}
	d = d.Round(time.Second)
	days, h, m, s := d/(24*time.Hour), d/time.Hour%24, d/time.Minute%60, d/time.Second%60
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%02dh", days, h)
	case h > 0:
		return fmt.Sprintf("%dh%02dm", h, m)
	}
	return fmt.Sprintf("%dm%02ds", m, s)
}

// si writes v with three significant digits and the prefix that fits.
func si(v float64, unit string) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return Absent
	}
	if v == 0 {
		return "0 " + unit
	}
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	prefixes := []string{"µ", "m", "", "k", "M", "G", "T", "P", "E"}
	i := 2
	// 999.5 would be rounded to four digits, so it already takes the next prefix.
	for v >= 999.5 && i < len(prefixes)-1 {
		v /= 1000
		i++
	}
	for v < 0.9995 && i > 0 {
		v *= 1000
		i--
	}
	return sign + digits(v) + " " + prefixes[i] + unit
}

// digits writes a v below 1000 with three significant digits.
func digits(v float64) string {
	switch {
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
