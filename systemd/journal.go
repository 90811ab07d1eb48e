package systemd

import (
	"context"
	"log/slog"
	"maps"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// JournalHandler logs to the journal with each attribute as a field of its own:
// "agent" becomes CAM_AGENT, so that `journalctl CAM_AGENT=agent-b` finds it.
// The attributes are in the message too, for people. What the journal does not
// take goes to fallback. There is no handler unless stderr is the journal's
// stream ($JOURNAL_STREAM, systemd.exec(5)).
func JournalHandler(identifier string, fallback slog.Handler) (slog.Handler, bool) {
	if ours, err := journal.StderrIsJournalStream(); err != nil || !ours || !journal.Enabled() {
		return nil, false
	}
	return newJournal(identifier, journal.Send, fallback), true
}

// send is journal.Send.
type send func(message string, p journal.Priority, fields map[string]string) error

type journalHandler struct {
	send     send
	fallback slog.Handler
	group    string // with a dot at its end
	text     string // of the attributes so far
	fields   map[string]string
}

func newJournal(identifier string, to send, fallback slog.Handler) slog.Handler {
	return journalHandler{send: to, fallback: fallback, fields: map[string]string{"SYSLOG_IDENTIFIER": identifier}}
}

// Enabled implements slog.Handler.
func (h journalHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.fallback.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	line := h
	line.fields = maps.Clone(h.fields)
	r.Attrs(func(a slog.Attr) bool { line.add(h.group, a); return true })
	if err := h.send(r.Message+line.text, priority(r.Level), line.fields); err != nil {
		return h.fallback.Handle(ctx, r)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.fallback = h.fallback.WithAttrs(attrs)
	h.fields = maps.Clone(h.fields)
	for _, a := range attrs {
		h.add(h.group, a)
	}
	return h
}

// WithGroup implements slog.Handler.
func (h journalHandler) WithGroup(name string) slog.Handler {
	h.fallback = h.fallback.WithGroup(name)
	if name != "" {
		h.group += name + "."
	}
	return h
}

// add takes one attribute, or all of a group, into text and fields.
func (h *journalHandler) add(group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, in := range v.Group() {
			h.add(group, in)
		}
		return
	}
	if a.Equal(slog.Attr{}) {
		return
	}
	s := v.String()
	h.fields[fieldName(group+a.Key)] = s
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f }) || s == "" {
		s = strconv.Quote(s)
	}
	h.text += " " + group + a.Key + "=" + s
}

// fieldName makes a name of upper-case letters, digits and underscores, at most
// 64 long (systemd.journal-fields(7); journald drops others).
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	return "CAM_" + name[:min(len(name), 60)]
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
