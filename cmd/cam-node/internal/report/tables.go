package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// Style is how to write a table.
type Style struct {
	Charset text.Charset
	// Width in cells; 0 for as wide as it takes (pipes, files).
	Width int
}

// WriteAgents writes the table of `camctl agents`: agents, the other accounts,
// and where the figures came from.
func WriteAgents(w io.Writer, o Observation, zone string, s Style) error {
	if err := WriteAccounts(w, o, zone, s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n"+Moment(o, s)+Origin(o, zone, s))
	return err
}

// WriteAccounts writes the table alone.
func WriteAccounts(w io.Writer, o Observation, zone string, s Style) error {
	agents, others := Split(Rows(o, zone))
	t := accountTable()
	for _, r := range agents {
		addRow(&t, r, r.State)
	}
	for _, r := range others {
		if r.Kind != Retired || !r.Blank() {
			addRow(&t, r, "")
		}
	}
	if err := t.Write(w, s.Width); err != nil {
		return err
	}
	if len(agents) == 0 {
		_, err := io.WriteString(w, "\nno agents yet: `camctl run --name NAME -- COMMAND` starts one\n")
		return err
	}
	return nil
}

// WriteBreakdown writes what `system` consists of, busiest first.
func WriteBreakdown(w io.Writer, o Observation, zone string, s Style) error {
	t := text.Table{Columns: []text.Column{
		{Title: "SYSTEM BY CGROUP"}, {Title: "CPU", Right: true},
		{Title: "READ/S", Right: true, Drop: 2}, {Title: "WRITE/S", Right: true, Drop: 1},
	}}
	rows := BreakdownRows(o, zone)
	metered := slices.ContainsFunc(rows, func(r Row) bool { return r.Metered })
	if metered {
		t.Columns = append(t.Columns, text.Column{Title: "WATTS", Right: true})
	}
	for _, r := range rows {
		t.Add(text.Clean(r.Name), r.CPU(), r.Reads(), r.Writes(), r.Watts())
	}
	if len(t.Rows) == 0 {
		t.Add("(quiet in the latest interval)")
	}
	return t.Write(w, s.Width)
}

func accountTable() text.Table {
	return text.Table{Columns: []text.Column{
		{Title: "NAME"}, {Title: "STATE", Drop: 2}, {Title: "CPU", Right: true},
		{Title: "CPU-TIME", Right: true, Drop: 3}, {Title: "READ/S", Right: true}, {Title: "WRITE/S", Right: true},
		{Title: "READ", Right: true, Drop: 5}, {Title: "WRITTEN", Right: true, Drop: 4},
		{Title: "WATTS", Right: true}, {Title: "JOULES", Right: true}, {Title: "SOURCE", Drop: 1},
	}}
}

func addRow(t *text.Table, r Row, state string) {
	if r.Kind == Idle || r.Kind == Unattributed && r.CPUNanoseconds == 0 {
		// Joules that nobody used have no CPU and no I/O.
		t.Add(r.Name, "", "", "", "", "", "", "", r.Watts(), r.Joules(), SourceLabel(r.Source))
		return
	}
	t.Add(text.Clean(r.Name), state, r.CPU(), unless(r.Lacking.CPU && r.CPUNanoseconds == 0, cpuTime(r.CPUNanoseconds)),
		r.Reads(), r.Writes(), unless(r.Lacking.IO && r.Read == 0, text.Bytes(r.Read)), unless(r.Lacking.IO && r.Written == 0, text.Bytes(r.Written)),
		r.Watts(), r.Joules(), SourceLabel(r.Source))
}

func cpuTime(ns uint64) string { return text.Duration(time.Duration(min(ns, 1<<63-1))) } // #nosec G115 -- capped

// CPU, Reads and Writes are what the latest interval used per second.
func (r Row) CPU() string { return unless(r.Lacking.CPU, text.Percent(r.Cores)) }

// Reads is like CPU.
func (r Row) Reads() string { return unless(r.Lacking.IO, text.ByteRate(r.ReadRate)) }

// Writes is like CPU.
func (r Row) Writes() string { return unless(r.Lacking.IO, text.ByteRate(r.WriteRate)) }

// Watts is like CPU.
func (r Row) Watts() string {
	return unless(!r.Metered || r.Lacking.Energy, text.Watts(r.Microwatts))
}

// Joules is what was used since the account was opened.
func (r Row) Joules() string { return unless(!r.Metered, text.Joules(r.Microjoules)) }

// unless shows that there is no figure.
func unless(lacking bool, figure string) string {
	if lacking {
		return text.Absent
	}
	return figure
}

// Moment says when it was, in one line.
func Moment(o Observation, s Style) string {
	var b strings.Builder
	remark(&b, s, "interval", fmt.Sprintf("%s, number %d, %s", cpuTime(o.IntervalNanoseconds), o.Sequence, o.Time.Local().Format(time.DateTime)))
	return b.String()
}

// Origin says in a few lines where the figures came from; camctl doctor says
// more.
func Origin(o Observation, zone string, s Style) string {
	var b strings.Builder
	remark(&b, s, "cpu, i/o", SensorLabel(o.Sensor))
	m := Meter(o.Zones, zone)
	if m.Sockets == 0 {
		remark(&b, s, "energy", "not metered on this node")
	} else {
		remark(&b, s, "energy", fmt.Sprintf("zone %s: %s, residual %d µJ", text.Clean(zone), m.describe(), m.Residual))
	}
	if o.Coarse {
		remark(&b, s, "coarse", "these figures are no finer than 1 s and 0.1 J for this caller")
	}
	if what := missing(o); what != "" {
		remark(&b, s, "missing", what)
	}
	return b.String()
}

func missing(o Observation) string {
	switch n := len(o.Missing); n {
	case 0:
		return ""
	case 1:
		return "1 thing: camctl doctor says what"
	default:
		return fmt.Sprintf("%d things: camctl doctor says what", n)
	}
}

// remark writes a line below a table, wrapped to its width.
func remark(b *strings.Builder, s Style, subject, what string) {
	const indent = "          "
	b.WriteString(text.Pad(subject, len(indent), false) + text.Wrap(what, s.Width, indent) + "\n")
}

// describe is the label with what a reader should know beyond it. How an
// estimate is made would take a line of its own: camctl doctor says it.
func (m Metering) describe() string {
	if len(m.Notes) == 0 || m.Quality == "estimated" {
		return m.Label()
	}
	return m.Label() + " (" + text.Clean(strings.Join(m.Notes, "; ")) + ")"
}

// SensorLabel says how good CPU and I/O figures are: "ebpf, exact".
func SensorLabel(p Provenance) string {
	quality := p.Quality
	switch {
	case p.Quality == "measured" && p.RelativeError == 0:
		quality = "exact"
	case p.Quality == "estimated":
		quality = "an estimate"
	}
	s := text.Clean(p.Source)
	if s == "" {
		s = "unknown source"
	}
	if quality != "" {
		s += ", " + text.Clean(quality)
	}
	if p.RelativeError > 0 {
		s += fmt.Sprintf(" ±%.0f%%", p.RelativeError*100)
	}
	if p.Note != "" {
		s += " (" + text.Clean(p.Note) + ")"
	}
	return s
}
