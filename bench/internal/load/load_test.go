package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// A serial load runs this program for each burst.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "burst" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestLoadsEndWithTheirInputAndSayWhatTheyUsed(t *testing.T) {
	for _, c := range []struct {
		args   string
		bursts int
		least  time.Duration
	}{
		{"burn", 0, 0},
		{"serial 20ms", 1, 20 * time.Millisecond},
		{"crowd 2", 0, 0},
	} {
		var out strings.Builder
		if err := run(strings.Fields(c.args), strings.NewReader(""), &out); err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		var r report
		if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
			t.Errorf("%s said %q", c.args, out.String())
		}
		if r.Bursts < c.bursts || r.CPU < c.least {
			t.Errorf("%s: %+v", c.args, r)
		}
	}
	for _, args := range []string{"", "sleep", "serial soon", "burst soon", "crowd many", "burn 1"} {
		if err := run(strings.Fields(args), strings.NewReader(""), new(strings.Builder)); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
