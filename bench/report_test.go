package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestResultsNameNoMachine(t *testing.T) {
	m := thisMachine(time.Date(2026, 7, 9, 23, 21, 0, 0, time.UTC))
	var md, text strings.Builder
	rows := []row{
		{What: "a | b", Measured: "1 ms", Target: "≤ 2 ms", Met: verdict(true), Against: "two\nlines"},
		{What: "c", Measured: "3 ms", Target: "≤ 2 ms", Met: verdict(false)},
		{What: "d", Measured: "4 times"},
	}
	if err := writeMarkdown(&md, m, false, rows); err != nil {
		t.Fatal(err)
	}
	if err := writeText(&text, rows); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{
		"2026-07-09 23:21 UTC", "`make bench`", m.CPU, m.Kernel,
		`| a \| b | 1 ms | ≤ 2 ms | yes | two lines |`, "| c | 3 ms | ≤ 2 ms | NO |  |", "| d | 4 times |  |  |  |",
	} {
		if !strings.Contains(md.String(), w) {
			t.Errorf("no %q in\n%s", w, md.String())
		}
	}
	for _, out := range []string{md.String(), text.String()} {
		for word := range strings.FieldsSeq(out) {
			if word == host || strings.HasPrefix(word, "/") && len(word) > 1 {
				t.Errorf("%q is this machine's own", word)
			}
		}
	}
}

func TestCPUModel(t *testing.T) {
	if got := cpuModel([]byte("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: a b\n")); got != "Some CPU @ 2 GHz" {
		t.Errorf("%q", got)
	}
	if got := cpuModel([]byte("processor\t: 0\nBogoMIPS\t: 100\n")); !strings.HasSuffix(got, " CPU") {
		t.Errorf("%q", got)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []int64
		want   int64
	}{{nil, 0}, {[]int64{7}, 7}, {[]int64{9, 1, 5}, 5}, {[]int64{4, 1, 9, 2}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: %d, want %d", c.values, got, c.want)
		}
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"-only", "("}} {
		var out, err strings.Builder
		if run(t.Context(), args, &out, &err) == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
