package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// shown serves metrics that can be changed.
func shown(t *testing.T, text string) (url string, change func(string)) {
	t.Helper()
	var now atomic.Value
	now.Store(text)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, now.Load())
	}))
	t.Cleanup(s.Close)
	return s.URL, func(text string) { now.Store(text) }
}

const before = `# TYPE cam_agent_cpu_seconds_total counter
cam_agent_cpu_seconds_total{agent="a"} 5
cam_agent_cpu_seconds_total{agent="b"} 6
# TYPE cam_store_commits_total counter
cam_store_commits_total 7
# TYPE cam_gauge gauge
cam_gauge 8
`

func TestCounters(t *testing.T) {
	for name, c := range map[string]struct{ after, want string }{
		"nothing happened":        {before, ""},
		"growth":                  {strings.ReplaceAll(before, "} 5", "} 9"), ""},
		"back":                    {strings.ReplaceAll(before, "} 5", "} 4"), "{agent=a} went back from 5 to 4"},
		"gone":                    {strings.ReplaceAll(before, `cam_agent_cpu_seconds_total{agent="b"} 6`, ""), "{agent=b} is gone, was 6"},
		"the process's own":       {strings.ReplaceAll(before, "total 7", "total 0"), ""},
		"a gauge may go anywhere": {strings.ReplaceAll(before, "gauge 8", "gauge 1"), ""},
		"no counters":             {"", "shows no counters"},
		"no metrics":              {"<html>", "text format"},
	} {
		t.Run(name, func(t *testing.T) {
			url, change := shown(t, before)
			file := filepath.Join(t.TempDir(), "counters")
			if err := counters(url, "save", file); err != nil {
				t.Fatal(err)
			}
			change(c.after)
			err := counters(url, "check", file)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestCountersWithoutFile(t *testing.T) {
	url, _ := shown(t, before)
	if err := counters(url, "check", filepath.Join(t.TempDir(), "nothing")); err == nil {
		t.Error("no error")
	}
	if err := counters("http://127.0.0.1:1", "save", filepath.Join(t.TempDir(), "file")); err == nil {
		t.Error("no error without a node")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"serve", "more"}, {"counters", "save"}, {"nonsense"}} {
		if err := run(args); err == nil || !strings.HasPrefix(err.Error(), "usage:") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
