package text

import (
	"io"
	"math"
	"strings"
)

// Charset is what the reader's terminal can draw: Unicode or ASCII. The zero
// value draws curves as ASCII does.
type Charset struct {
	// Levels are the steps of a bar, lowest first; Levels[0] draws nothing.
	Levels []string
	// Rule draws a horizontal line.
	Rule string
	// Fill draws the parts of a whole, each distinct without colour.
	Fill [4]string
	// Marks say ok, degraded, failed.
	Marks [3]string
	// Dot separates remarks.
	Dot string

	ascii bool
}

// Text writes units with what the terminal can draw.
func (c Charset) Text(s string) string {
	if !c.ascii {
		return s
	}
	return strings.NewReplacer("µ", "u", "±", "+/-").Replace(s)
}

// Writer applies Text to what is written to w.
func (c Charset) Writer(w io.Writer) io.Writer {
	if !c.ascii {
		return w
	}
	return textWriter{c, w}
}

type textWriter struct {
	charset Charset
	w       io.Writer
}

func (t textWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(t.w, t.charset.Text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Unicode draws with block elements; ASCII with what every console has.
func Unicode() Charset {
	return Charset{
		Levels: []string{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
		Rule:   "─",
		Fill:   [4]string{"█", "▓", "░", "·"},
		Marks:  [3]string{"✓", "!", "✗"},
		Dot:    "·",
	}
}

// ASCII draws with what every console has.
func ASCII() Charset {
	return Charset{
		Levels: []string{" ", "_", ".", ":", "-", "=", "+", "*", "#"},
		Rule:   "-",
		Fill:   [4]string{"#", "=", ".", "?"},
		Marks:  [3]string{"+", "!", "x"},
		Dot:    "|",
		ascii:  true,
	}
}

// ForTerminal chooses by the environment: Unicode, unless the locale names
// another charset or the terminal is one of those without block elements.
func ForTerminal(getenv func(string) string) Charset {
	switch getenv("TERM") {
	case "dumb", "linux", "vt100", "vt102", "vt220":
		return ASCII()
	}
	for _, key := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(key)); v != "" {
			if strings.Contains(v, "utf-8") || strings.Contains(v, "utf8") {
				return Unicode()
			}
			return ASCII()
		}
	}
	return Unicode()
}

// Sparkline draws values from left to right in exactly width cells, the latest
// at the right edge; more values than cells are averaged, fewer leave blanks.
// The height is relative to top. A measured zero draws the lowest step, NaN
// (nothing was measured) a blank.
func (c Charset) Sparkline(values []float64, width int, top float64) string {
	values = Resample(values, width)
	if c.Levels == nil {
		c = ASCII()
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", max(0, width-len(values))))
	n := float64(len(c.Levels) - 1)
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			b.WriteString(" ")
		case v <= 0 || top <= 0:
			b.WriteString(c.Levels[1])
		default:
			b.WriteString(c.Levels[int(math.Max(1, math.Min(n, math.Round(v/top*n))))])
		}
	}
	return b.String()
}

// Area draws values as a filled curve of the given size, rows from the top.
func (c Charset) Area(values []float64, width, height int, top float64) []string {
	values = Resample(values, width)
	if c.Levels == nil {
		c = ASCII()
	}
	rows := make([]string, height)
	per := len(c.Levels) - 1
	for r := range rows {
		var b strings.Builder
		b.WriteString(strings.Repeat(" ", max(0, width-len(values))))
		floor := (height - 1 - r) * per
		for _, v := range values {
			level := 0
			if !math.IsNaN(v) && top > 0 {
				level = int(math.Round(v/top*float64(per*height))) - floor
				if r == height-1 && level < 1 {
					level = 1
				}
			}
			b.WriteString(c.Levels[min(max(level, 0), per)])
		}
		rows[r] = b.String()
	}
	return rows
}

// Resample averages values into at most width of them, gaps left out.
func Resample(values []float64, width int) []float64 {
	if width <= 0 {
		return nil
	}
	if len(values) <= width {
		return values
	}
	out := make([]float64, width)
	for i := range out {
		from, to := i*len(values)/width, (i+1)*len(values)/width
		sum, n := 0.0, 0
		for _, v := range values[from:to] {
			if !math.IsNaN(v) {
				sum += v
				n++
			}
		}
		out[i] = sum / float64(n) // NaN without values
	}
	return out
}

// Shares divides width cells in proportion to parts, largest remainder first,
// so that the cells always sum to width; all zero when nothing is there.
func Shares(parts []float64, width int) []int {
	sum := 0.0
	for _, p := range parts {
		sum += math.Max(0, p)
	}
	cells := make([]int, len(parts))
	if sum <= 0 || math.IsNaN(sum) || math.IsInf(sum, 0) {
		return cells
	}
	rest := make([]float64, len(parts))
	left := width
	for i, p := range parts {
		exact := math.Max(0, p) / sum * float64(width)
		cells[i] = int(exact)
		rest[i] = exact - float64(cells[i])
		left -= cells[i]
	}
	for ; left > 0; left-- {
		best := 0
		for i := range rest {
			if rest[i] > rest[best] {
				best = i
			}
		}
		cells[best]++
		rest[best] = -1
	}
	return cells
}

// Highest is the scale that a sparkline of its own has: the highest value, at
// least 0. What is no number counts for nothing.
func Highest(values []float64) float64 {
	top := 0.0
	for _, v := range values {
		if v > top { // false for NaN
			top = v
		}
	}
	return top
}
