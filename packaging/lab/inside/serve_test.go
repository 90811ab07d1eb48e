package main

import (
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/packaging/lab/wire"
)

func TestAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		script, stdin  string
		code           int
		stdout, stderr string
	}{
		"output":          {"echo a; echo b >&2", "", 0, "a\n", "b\n"},
		"stdin":           {"cat", "given\x00", 0, "given\x00", ""},
		"exit code":       {"exit 7", "", 7, "", ""},
		"first failure":   {"false; echo not reached", "", 1, "", ""},
		"pipes fail":      {"false | true", "", 1, "", ""},
		"unset variables": {"echo $nothing", "", 1, "", "nothing: unbound variable"},
		"signal":          {"kill -TERM $$", "", 128 + 15, "", ""},
		"left behind":     {"sleep 60 & echo $! started", "", 0, "started", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := answer(wire.Request{ID: 5, Script: c.script, Stdin: []byte(c.stdin), Seconds: 30})
			if r.ID != 5 || r.Code != c.code || !strings.Contains(string(r.Stdout), c.stdout) || !strings.Contains(string(r.Stderr), c.stderr) {
				t.Errorf("the answer is %d, code %d, %q, %q", r.ID, r.Code, r.Stdout, r.Stderr)
			}
			if name == "left behind" {
				pid, _, _ := strings.Cut(string(r.Stdout), " ")
				if r := answer(wire.Request{Script: "kill " + pid, Seconds: 30}); r.Code != 0 {
					t.Errorf("what the script left is gone: %s", r.Stderr)
				}
			}
		})
	}
}

// What takes too long is killed, with its children.
func TestAnswerAfterTheLimit(t *testing.T) {
	done := make(chan wire.Reply)
	go func() { done <- answer(wire.Request{Script: "echo begun; sleep 3600 | cat", Seconds: 0.2}) }()
	select {
	case r := <-done:
		if r.Code != 124 || string(r.Stdout) != "begun\n" || !strings.Contains(string(r.Stderr), "killed after 200ms") {
			t.Errorf("code %d, %q, %q", r.Code, r.Stdout, r.Stderr)
		}
	case <-time.After(time.Minute):
		t.Fatal("no answer")
	}
}
