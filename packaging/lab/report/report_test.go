package report

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func example(progress *strings.Builder) *Report {
	r := &Report{Device: "bookworm/amd64, kernel 6.1", Progress: progress}
	r.Add(Scenario{Name: "10-install", Verdict: OK, Took: 12300 * time.Millisecond, Output: "not shown"})
	r.Add(Scenario{Name: "20-agents", Verdict: Failed, Took: time.Second, Output: "\x1b[1mwent <wrong>\r\n]]> & more"})
	r.Add(Scenario{Name: "30-restart", Verdict: Skipped})
	return r
}

func read(t *testing.T, write func(string) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report")
	if err := write(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestProgressIsALineEach(t *testing.T) {
	var progress strings.Builder
	example(&progress)
	const want = "ok      10-install         12.3 s\nFAILED  20-agents           1.0 s\nskipped 30-restart          0.0 s\n"
	if progress.String() != want {
		t.Errorf("progress is\n%s, want\n%s", &progress, want)
	}
}

func TestTAP(t *testing.T) {
	got := read(t, example(new(strings.Builder)).TAP)
	for _, want := range []string{
		"TAP version 13\n1..3\n", "\nok 1 - 10-install\n", "duration_ms: 12300", "\nnot ok 2 - 20-agents\n",
		"\n# \x1b[1mwent <wrong>\n# ]]> & more\n", "\nok 3 - 30-restart # SKIP\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "not shown") {
		t.Errorf("the output of what ended well is in\n%s", got)
	}
}

func TestJUnit(t *testing.T) {
	got := read(t, example(new(strings.Builder)).JUnit)
	var s suite
	if err := xml.Unmarshal([]byte(got), &s); err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if s.Tests != 3 || s.Failures != 1 || s.Skipped != 1 || s.Time != "13.300" || s.Name != "bookworm/amd64, kernel 6.1" || len(s.Cases) != 3 {
		t.Errorf("suite is %+v", s)
	}
	if f := s.Cases[1].Failure; f == nil || f.Output != "[1mwent <wrong>\n]]> & more" {
		t.Errorf("the failure is %+v", f)
	}
	if s.Cases[0].Failure != nil || s.Cases[2].Skipped == nil {
		t.Errorf("cases are %+v", s.Cases)
	}
}

func TestWriteSaysWhereItCannot(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "no", "file")
	for _, write := range []func(string) error{new(Report).TAP, new(Report).JUnit} {
		if err := write(nowhere); err == nil || !strings.Contains(err.Error(), nowhere) {
			t.Errorf("error is %v", err)
		}
	}
}
