package systemd

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
)

func TestJournalFields(t *testing.T) {
	var (
		message  string
		priority journal.Priority
		fields   map[string]string
		refuse   error
		text     bytes.Buffer
	)
	record := func(m string, p journal.Priority, f map[string]string) error {
		message, priority, fields = m, p, f
		return refuse
	}
	log := slog.New(newJournal("cam-node", record, slog.NewTextHandler(&text, nil)))
	for name, c := range map[string]struct {
		log      func()
		message  string
		priority journal.Priority
		fields   map[string]string
	}{
		"plain": {func() { log.Info("node has stopped") }, "node has stopped", journal.PriInfo, nil},
		"attributes": {
			func() { log.Warn("agent started", "agent", "agent-b", "why", "it was asked", "none", "") },
			`agent started agent=agent-b why="it was asked" none=""`, journal.PriWarning,
			map[string]string{"CAM_AGENT": "agent-b", "CAM_WHY": "it was asked", "CAM_NONE": ""},
		},
		"error": {
			func() { log.Error("store", "err", errors.New("line 1\nline 2")) },
			`store err="line 1\nline 2"`, journal.PriErr, map[string]string{"CAM_ERR": "line 1\nline 2"},
		},
		"groups": {
			func() { log.With("pid", 7).WithGroup("zone").Info("lost", slog.Group("at", "Socket-0", 1), "x", 2) },
			"lost pid=7 zone.at.Socket-0=1 zone.x=2", journal.PriInfo,
			map[string]string{"CAM_PID": "7", "CAM_ZONE_AT_SOCKET_0": "1", "CAM_ZONE_X": "2"},
		},
		"a long name": {
			func() { log.Info("m", strings.Repeat("é", 70), 1) },
			"m " + strings.Repeat("é", 70) + "=1", journal.PriInfo, map[string]string{"CAM_" + strings.Repeat("_", 60): "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.log()
			want := map[string]string{"SYSLOG_IDENTIFIER": "cam-node"}
			maps.Copy(want, c.fields)
			if message != c.message || priority != c.priority || !maps.Equal(fields, want) {
				t.Errorf("got %q, %v, %v; want %q, %v, %v", message, priority, fields, c.message, c.priority, want)
			}
		})
	}
	log.Debug("unseen")
	if message == "unseen" {
		t.Error("the fallback's level is not kept")
	}
	if text.Len() > 0 {
		t.Errorf("the fallback got %q", &text)
	}
	refuse = errors.New("no journal")
	log.With("a", 1).WithGroup("g").Error("lost", "b", 2)
	if !strings.Contains(text.String(), "msg=lost a=1 g.b=2") {
		t.Errorf("the fallback got %q", &text)
	}
}

// Whoever starts this test has a stderr of their own.
func TestNoJournalWithoutItsStream(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "")
	if _, ok := JournalHandler("x", slog.DiscardHandler); ok {
		t.Error("there is a handler for the journal, and stderr is not the journal's")
	}
}
