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
	// Wide asks for every figure, however wide that is.
	Wide bool
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
	others = slices.DeleteFunc(others, func(r Row) bool { return r.Kind == Retired && r.Blank() })
	further := accountColumns(agents, s.Wide)
	t := accountTable(further)
	for _, r := range append(slices.Clone(agents), others...) {
		addRow(&t, r, further)
	}
	width := s.Width
	if s.Wide {
		width = 0
	}
	if err := t.Write(w, width); err != nil {
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

// accountColumns are those before SOURCE: memory where any agent's is
// measured, or with wide all that the views have.
func accountColumns(agents []Row, wide bool) []Column {
	if !wide {
		if !slices.ContainsFunc(agents, func(r Row) bool { return r.Memory != nil }) {
			return nil
		}
		return []Column{column("MEMORY", 7, 0, ByMemory, func(r Row) float64 { return r.held(workingSet) }, bytesText)}
	}
	stall := func(title string, of func(Pressure) uint64) Column {
		return column(title, 5, 0, "", func(r Row) float64 { return r.stall(of) }, percentText)
	}
	return []Column{
		column("DISK-RD/S", 7, 0, ByDisk, func(r Row) float64 { return r.Disk("read") }, perSecond),
		column("DISK-WR/S", 7, 0, ByDisk, func(r Row) float64 { return r.Disk("write") }, perSecond),
		column("DISK-P99", 6, 0, ByLatency, Row.diskLatency, boundText),
		column("WAIT-P50", 6, 0, "", func(r Row) float64 { return r.wait(p50) }, boundText),
		column("WAIT-P99", 6, 0, ByWait, func(r Row) float64 { return r.wait(p99) }, boundText),
		column("THROTTLED", 9, 0, ByThrottled, Row.Throttled, percentText),
		stall("CPU-STALL", cpuStall), stall("IO-STALL", ioStall), stall("MEM-STALL", memoryStall),
		column("MEMORY", 7, 0, ByMemory, func(r Row) float64 { return r.held(workingSet) }, bytesText),
		column("MEM-USED", 7, 0, "", func(r Row) float64 { return r.held(func(m Memory) uint64 { return m.CurrentBytes }) }, bytesText),
		column("MEM-LIMIT", 7, 0, "", func(r Row) float64 { return r.held(func(m Memory) uint64 { return m.LimitBytes }) }, limitText),
		column("OOM-KILLS", 4, 0, "", Row.oomKills, countText),
		column("RECV/S", 7, 0, ByNetwork, func(r Row) float64 { return r.traffic(received) }, perSecond),
		column("SENT/S", 7, 0, ByNetwork, func(r Row) float64 { return r.traffic(sent) }, perSecond),
		column("REFUSED", 7, 0, "", Row.refused, countText),
		column("ESCAPED", 7, 0, "", Row.escaped, countText),
	}
}

func accountTable(further []Column) text.Table {
	t := text.Table{Columns: []text.Column{
		{Title: "NAME"}, {Title: "STATE", Drop: 2}, {Title: "CPU", Right: true},
		{Title: "CPU-TIME", Right: true, Drop: 4}, {Title: "READ/S", Right: true}, {Title: "WRITE/S", Right: true},
		{Title: "READ", Right: true, Drop: 6}, {Title: "WRITTEN", Right: true, Drop: 5},
		{Title: "WATTS", Right: true}, {Title: "JOULES", Right: true},
	}}
	source := text.Column{Title: "SOURCE", Drop: 1}
	for _, c := range further {
		t.Columns = append(t.Columns, text.Column{Title: c.Title, Right: true, Drop: 1})
		source.Drop = 3 // the lines below the table say it too
	}
	t.Columns = append(t.Columns, source)
	return t
}

func addRow(t *text.Table, r Row, further []Column) {
	cells := []string{text.Clean(r.Name), r.State}
	energyOnly := r.Kind == Idle || r.Kind == Unattributed && r.CPUNanoseconds == 0
	if energyOnly { // joules that nobody used have no CPU and no I/O of their own
		cells = append(cells, "", "", "", "", "", "", r.Watts(), r.Joules())
	} else {
		cells = append(cells, r.CPU(), unless(r.Lacking.CPU && r.CPUNanoseconds == 0, cpuTime(r.CPUNanoseconds)), r.Reads(), r.Writes(),
			unless(r.Lacking.IO && r.Read == 0, text.Bytes(r.Read)), unless(r.Lacking.IO && r.Written == 0, text.Bytes(r.Written)), r.Watts(), r.Joules())
	}
	for _, c := range further {
		switch {
		case r.Kind == Agent, !energyOnly && strings.HasPrefix(c.Title, "WAIT"), r.Kind != Idle && strings.HasPrefix(c.Title, "DISK"):
			cells = append(cells, c.Figure(r))
		default:
			cells = append(cells, "") // only agents have it
		}
	}
	t.Add(append(cells, SourceLabel(r.Source))...)
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
	if n := len(o.Moves); n > 0 {
		remark(&b, s, "escapes", fmt.Sprintf("%d, the latest: %s", n, Escape(o.Moves[n-1])))
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

// Escape tells of a task that left an agent.
func Escape(m Move) string {
	what := fmt.Sprintf("process %d (%s) of %s", m.Process, text.Clean(m.Command), text.Clean(m.From))
	if m.Fork {
		what += ", born in "
	} else {
		what += ", moved to "
	}
	what += text.Clean(m.To)
	if m.By != 0 {
		what += fmt.Sprintf(" by %d (%s)", m.By, text.Clean(m.ByCommand))
	}
	return what + ", " + m.Time.Local().Format(time.DateTime)
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
