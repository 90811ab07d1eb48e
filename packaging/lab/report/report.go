// Package report writes how scenarios ended, for people and for machines: in
// the Test Anything Protocol (testanything.org, version 13) and as JUnit XML.
package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
)

// Verdict on a scenario.
type Verdict string

// Verdicts.
const (
	OK      Verdict = "ok"
	Failed  Verdict = "FAILED"
	Skipped Verdict = "skipped"
)

// Scenario is how one ended.
type Scenario struct {
	Name    string
	Verdict Verdict
	Took    time.Duration
	// Output is shown when it did not end well.
	Output string
}

// Report is of one device.
type Report struct {
	// Device is a name for people, such as "bookworm/amd64, kernel 6.1.0".
	Device    string
	Scenarios []Scenario
	// Progress is told how each ended, a line each; nil: nobody.
	Progress io.Writer
}

// Add adds a scenario that has ended.
func (r *Report) Add(s Scenario) {
	r.Scenarios = append(r.Scenarios, s)
	if r.Progress != nil {
		fmt.Fprintf(r.Progress, "%-7s %-16s %6.1f s\n", s.Verdict, s.Name, s.Took.Seconds())
	}
}

// TAP writes a file in the Test Anything Protocol.
func (r *Report) TAP(path string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "TAP version 13\n1..%d\n# %s\n", len(r.Scenarios), r.Device)
	for i, s := range r.Scenarios {
		word, directive := "ok", ""
		switch s.Verdict {
		case Failed:
			word = "not ok"
		case Skipped:
			directive = " # SKIP"
		}
		fmt.Fprintf(&b, "%s %d - %s%s\n  ---\n  duration_ms: %d\n  ...\n", word, i+1, s.Name, directive, s.Took.Milliseconds())
		if s.Verdict == Failed {
			for line := range strings.Lines(s.Output) {
				fmt.Fprintf(&b, "# %s\n", strings.TrimRight(line, "\r\n"))
			}
		}
	}
	return os.WriteFile(path, []byte(b.String()), 0o644) // #nosec G306 -- a report
}

type suite struct {
	XMLName  xml.Name   `xml:"testsuite"`
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Skipped  int        `xml:"skipped,attr"`
	Time     string     `xml:"time,attr"`
	Cases    []testcase `xml:"testcase"`
}

type testcase struct {
	Name    string    `xml:"name,attr"`
	Class   string    `xml:"classname,attr"`
	Time    string    `xml:"time,attr"`
	Failure *failure  `xml:"failure"`
	Skipped *struct{} `xml:"skipped"`
}

type failure struct {
	Message string `xml:"message,attr"`
	Output  string `xml:",cdata"`
}

// JUnit writes a file of JUnit XML, as CI servers read it.
func (r *Report) JUnit(path string) error {
	out := suite{Name: r.Device, Tests: len(r.Scenarios)}
	var took time.Duration
	for _, s := range r.Scenarios {
		took += s.Took
		c := testcase{Name: s.Name, Class: r.Device, Time: seconds(s.Took)}
		switch s.Verdict {
		case Failed:
			out.Failures++
			c.Failure = &failure{Message: "the scenario failed", Output: strings.Map(character, s.Output)}
		case Skipped:
			out.Skipped++
			c.Skipped = &struct{}{}
		}
		out.Cases = append(out.Cases, c)
	}
	out.Time = seconds(took)
	data, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte(xml.Header), append(data, '\n')...), 0o644) // #nosec G306 -- a report
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// character drops what XML 1.0 has no way to say, such as escape sequences.
func character(r rune) rune {
	if r == unicode.ReplacementChar || (unicode.IsControl(r) && r != '\n' && r != '\t') {
		return -1
	}
	return r
}
