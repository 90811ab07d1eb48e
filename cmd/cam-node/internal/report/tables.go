package report

import (
	"fmt"
	"io"
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
	agents, others := Split(Rows(o, zone))
	t := accountTable("NAME", "JOULES")
	for _, r := range agents {
		addRow(&t, r, r.State)
	}
	for _, r := range others {
		addRow(&t, r, "")
	}
	if err := t.Write(w, s.Width); err != nil {
		return err
	}
	if len(agents) == 0 {
		if _, err := io.WriteString(w, "\nno agents yet: `camctl run --name NAME -- COMMAND` starts one\n"); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	return WriteOrigin(w, o, zone)
}

// WriteBreakdown writes what `system` consists of, busiest first.
func WriteBreakdown(w io.Writer, o Observation, zone string, s Style) error {
	t := text.Table{Columns: []text.Column{
		{Title: "SYSTEM BY CGROUP"}, {Title: "CPU", Right: true}, {Title: "READ/S", Right: true, Drop: 2},
		{Title: "WRITE/S", Right: true, Drop: 1}, {Title: "WATTS", Right: true},
	}}
	for _, r := range BreakdownRows(o, zone) {
		t.Add(text.Clean(r.Name), text.Percent(r.Cores), text.ByteRate(r.ReadRate), text.ByteRate(r.WriteRate), watts(r))
	}
	if len(t.Rows) == 0 {
		t.Add("(quiet in the latest interval)")
	}
	return t.Write(w, s.Width)
}

func accountTable(name, joules string) text.Table {
	return text.Table{Columns: []text.Column{
		{Title: name}, {Title: "STATE", Drop: 2}, {Title: "CPU", Right: true},
		{Title: "CPU-TIME", Right: true, Drop: 3}, {Title: "READ/S", Right: true}, {Title: "WRITE/S", Right: true},
		{Title: "READ", Right: true, Drop: 5}, {Title: "WRITTEN", Right: true, Drop: 4},
		{Title: "WATTS", Right: true}, {Title: joules, Right: true}, {Title: "SOURCE", Drop: 1},
	}}
}

func addRow(t *text.Table, r Row, state string) {
	if r.Kind == Idle || r.Kind == Unattributed && r.CPUNanoseconds == 0 {
		// Joules that nobody used have no CPU and no I/O.
		t.Add(r.Name, "", "", "", "", "", "", "", watts(r), joules(r), SourceLabel(r.Source))
		return
	}
	t.Add(text.Clean(r.Name), state, text.Percent(r.Cores), cpuTime(r.CPUNanoseconds),
		text.ByteRate(r.ReadRate), text.ByteRate(r.WriteRate), text.Bytes(r.Read), text.Bytes(r.Written),
		watts(r), joules(r), SourceLabel(r.Source))
}

func cpuTime(ns uint64) string { return text.Duration(time.Duration(min(ns, 1<<63-1))) } // #nosec G115 -- capped

func watts(r Row) string {
	if !r.Metered {
		return text.Absent
	}
	return text.Watts(r.Microwatts)
}

func joules(r Row) string {
	if !r.Metered {
		return text.Absent
	}
	return text.Joules(r.Microjoules)
}

// WriteOrigin says where the figures came from, and what is missing.
func WriteOrigin(w io.Writer, o Observation, zone string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "cpu, i/o  %s\n", SensorLabel(o.Sensor))
	m := Meter(o.Zones, zone)
	if m.Sockets == 0 {
		b.WriteString("energy    not metered on this node\n")
	} else {
		fmt.Fprintf(&b, "energy    zone %s: %s", text.Clean(zone), m.Label())
		if len(m.Notes) > 0 {
			fmt.Fprintf(&b, " (%s)", text.Clean(strings.Join(m.Notes, "; ")))
		}
		fmt.Fprintf(&b, ", residual %d µJ\n", m.Residual)
	}
	fmt.Fprintf(&b, "interval  %s, number %d, %s\n", cpuTime(o.IntervalNanoseconds), o.Sequence, o.Time.Local().Format("2006-01-02 15:04:05"))
	if o.Coarse {
		b.WriteString("coarse    these figures are no finer than 1 s and 0.1 J for this caller\n")
	}
	for _, missing := range o.Missing {
		fmt.Fprintf(&b, "missing   %s\n", text.Clean(missing))
	}
	_, err := io.WriteString(w, b.String())
	return err
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
