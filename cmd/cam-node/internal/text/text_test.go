package text

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

func TestQuantities(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Bytes(0), "0 B"},
		{Bytes(999), "999 B"},
		{Bytes(1000), "1.00 kB"},
		{Bytes(999_499), "999 kB"},
		{Bytes(999_500), "1.00 MB"},
		{Bytes(675_000_000), "675 MB"},
		{Bytes(math.MaxUint64), "18.4 EB"},
		{ByteRate(0), "0 B/s"},
		{ByteRate(0.2), "1 B/s"}, // slow is not nothing
		{ByteRate(675e6), "675 MB/s"},
		{ByteRate(math.NaN()), "-"},
		{Watts(0), "0 W"},
		{Watts(400), "<1 mW"},
		{Watts(20_000), "0.020 W"},
		{Watts(999_400), "0.999 W"},
		{Watts(999_600), "1.00 W"},
		{Watts(12_345_678), "12.3 W"},
		{Watts(1_234_000_000), "1.23 kW"},
		{Watts(math.Inf(1)), "-"},
		{Joules(0), "0 J"},
		{Joules(1), "1.00 µJ"},
		{Joules(12_345_000_000), "12.3 kJ"},
		{Joules(math.MaxUint64), "18.4 TJ"},
		{WattHours(3_600_000_000), "1.00 Wh"},
		{WattHours(25 * 3_600_000_000), "25.0 Wh"},
		{Percent(0), "0%"},
		{Percent(0.0001), "<0.1%"},
		{Percent(0.123), "12.3%"},
		{Percent(0.9994), "99.9%"},
		{Percent(0.9996), "100%"},
		{Percent(3.59), "359%"},
		{Percent(math.NaN()), "-"},
		{Duration(0), "0s"},
		{Duration(-time.Second), "-1.00s"},
		{Duration(17), "17ns"},
		{Duration(1500), "1.50µs"},
		{Duration(999_600), "1.00ms"},
		{Duration(850 * time.Millisecond), "850ms"},
		{Duration(3250 * time.Millisecond), "3.25s"},
		{Duration(59960 * time.Millisecond), "1m00s"},
		{Duration(62 * time.Minute), "1h02m"},
		{Duration(51 * time.Hour), "2d03h"},
		{si(-1500, "W"), "-1.50 kW"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// Whatever the figure, its text fits the columns of the interface.
func TestQuantitiesAreShort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64().Draw(t, "n")
		for what, s := range map[string]string{"bytes": Bytes(n), "joules": Joules(n), "watts": Watts(float64(n)), "percent": Percent(float64(n) / (1 << 60))} {
			if Width(s) > 7 {
				t.Fatalf("%s of %d: %q is wider than 7", what, n, s)
			}
		}
		if s := Duration(time.Duration(n >> 8)); Width(s) > 7 {
			t.Fatalf("duration of %d: %q is wider than 7", n>>8, s)
		}
	})
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"10m": 10 * time.Minute, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour,
		"2w": 14 * 24 * time.Hour, "1.5d": 36 * time.Hour, "500ms": 500 * time.Millisecond, "1w1d1s": 8*24*time.Hour + time.Second,
	} {
		var p Positive
		if err := p.Set(in); err != nil || time.Duration(p) != want {
			t.Errorf("%q: got %v, %v; want %v", in, time.Duration(p), err, want)
		}
	}
	for in, want := range map[string]string{
		"": "no duration", "10": "no duration", "soon": "no duration", "0s": "not a positive", "-5m": "no",
		"1d-5h": "not a positive", "99999999d": "longer than a century", "d": "no duration", "9223372036854775807w": "century",
	} {
		if _, err := ParseDuration(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want one with %q", in, err, want)
		}
	}
	if s := new(Positive).String(); s != "" {
		t.Errorf("an unset duration shows as %q", s)
	}
	p := Positive(time.Hour)
	if p.String() != "1h00m" || p.Type() != "duration" {
		t.Errorf("got %s %s", p.String(), p.Type())
	}
}

func TestCleanLeavesNothingToObey(t *testing.T) {
	for in, want := range map[string]string{
		"agent-b":           "agent-b",
		"Füchslein 中":       "Füchslein 中",
		"a\x1b[31mred":      `a\x1b[31mred`,
		"two\nlines":        `two\x0alines`,
		"\u202eevil":        `\xe2\x80\xaeevil`,
		"zero\u200bwidth":   `zero\xe2\x80\x8bwidth`,
		"broken\xff":        `broken\xff`,
		"c1\u009b31m":       `c1\xc2\x9b31m`,
		"":                  "",
		"\ufffd is allowed": "\ufffd is allowed",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := Clean(string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")))
		for _, r := range s {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q holds %U", s, r)
			}
		}
	})
}

func TestPadAndCut(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Pad("ab", 4, false), "ab  "},
		{Pad("ab", 4, true), "  ab"},
		{Pad("abcdef", 4, false), "abc~"},
		{Pad("中中中", 4, false), "中~ "}, // two cells each
		{Cut("abc", 0), ""},
		{Wrap("one two three four five six", 30, "        "), "one two three four\n        five six"},
		{Wrap("no width known", 0, "   "), "no width known"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestCharsetFollowsTheTerminal(t *testing.T) {
	for _, c := range []struct {
		env   map[string]string
		ascii bool
	}{
		{nil, false},
		{map[string]string{"LANG": "de_DE.UTF-8"}, false},
		{map[string]string{"LANG": "C"}, true},
		{map[string]string{"LANG": "C.UTF-8", "LC_ALL": "POSIX"}, true},
		{map[string]string{"LANG": "C", "LC_CTYPE": "en_GB.utf8"}, false},
		{map[string]string{"TERM": "vt220", "LANG": "C.UTF-8"}, true},
		{map[string]string{"TERM": "dumb"}, true},
	} {
		got := ForTerminal(func(k string) string { return c.env[k] })
		if (got.Levels[8] == "#") != c.ascii {
			t.Errorf("%v: ascii is %v", c.env, !c.ascii)
		}
	}
	var b bytes.Buffer
	for _, c := range []Charset{ASCII(), Unicode()} {
		if _, err := c.Writer(&b).Write([]byte("±5% µJ ")); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.String(); got != "+/-5% uJ ±5% µJ " {
		t.Errorf("got %q", got)
	}
}

func TestSparkline(t *testing.T) {
	u, nan := Unicode(), math.NaN()
	for _, c := range []struct {
		values []float64
		width  int
		top    float64
		want   string
	}{
		{[]float64{0, 1, 2, 3, 4, 5, 6, 7, 8}, 9, 8, "▁▁▂▃▄▅▆▇█"},
		{[]float64{8, nan, 8}, 5, 8, "  █ █"},
		{[]float64{0.001, 100}, 2, 8, "▁█"}, // small is seen, too much is full
		{[]float64{2, 2, 6, 6}, 2, 8, "▂▆"},
		{[]float64{nan, nan, 8, 8}, 2, 8, " █"},
		{[]float64{1}, 3, 0, "  ▁"},
		{nil, 3, 1, "   "},
		{[]float64{1}, 0, 1, ""},
	} {
		if got := u.Sparkline(c.values, c.width, c.top); got != c.want {
			t.Errorf("%v in %d: got %q, want %q", c.values, c.width, got, c.want)
		}
	}
	area := strings.Join(u.Area([]float64{0, 4, 8, 16, nan}, 6, 2, 16), "\n")
	if want := "    █ \n ▁▄██ "; area != want {
		t.Errorf("area:\n%s\nwant:\n%s", area, want)
	}
}

func TestSharesSumToTheWhole(t *testing.T) {
	if got := Shares([]float64{29.6, 4.77, 12, 0.02}, 78); got[0] != 50 || got[1] != 8 || got[2] != 20 || got[3] != 0 {
		t.Errorf("got %v", got)
	}
	for _, nothing := range [][]float64{nil, {0, 0}, {-1}, {math.NaN()}, {math.Inf(1)}} {
		for _, cells := range Shares(nothing, 10) {
			if cells != 0 {
				t.Errorf("%v has cells", nothing)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.Float64Range(0, 1e9), 1, 6).Draw(t, "parts")
		width := rapid.IntRange(0, 200).Draw(t, "width")
		parts[0]++
		sum := 0
		for _, c := range Shares(parts, width) {
			if c < 0 {
				t.Fatal("negative")
			}
			sum += c
		}
		if sum != width {
			t.Fatalf("sum %d, width %d", sum, width)
		}
	})
}

func TestTableGivesWay(t *testing.T) {
	table := Table{Columns: []Column{{Title: "NAME"}, {Title: "STATE", Drop: 1}, {Title: "CPU", Right: true}, {Title: "READ", Right: true, Drop: 2}}}
	table.Add("agent-with-a-long-name", "running", "100%", "1.00 MB")
	table.Add("x")
	for width, want := range map[int]string{
		0: "NAME                    STATE     CPU     READ\n" +
			"agent-with-a-long-name  running  100%  1.00 MB\nx\n",
		40: "NAME                    STATE     CPU\nagent-with-a-long-name  running  100%\nx\n",
		30: "NAME                     CPU\nagent-with-a-long-name  100%\nx\n",
		20: "NAME             CPU\nagent-with-a-~  100%\nx\n",
		3:  "NAME       CPU\nagent-w~  100%\nx\n",
	} {
		var b strings.Builder
		if err := table.Write(&b, width); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("width %d:\n%swant:\n%s", width, b.String(), want)
		}
	}
}

func TestCount(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 12: "12", 0.001: "<0.01", 0.348: "0.35", 4.5: "4.50", 999: "999", 1200: "1.20k", 3.72e6: "3.72M", math.Inf(1): "-"} {
		if got := Count(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestWrapKeepsDatesWhole(t *testing.T) {
	if got := Wrap("process of agent-b moved on 2026-11-25", 34, "  "); got != "process of agent-b moved on\n  2026-11-25" {
		t.Errorf("got %q", got)
	}
}
