package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// sparkCells is the width of a curve in the table of `camctl energy`.
const sparkCells = 20

// WriteEnergy writes the table of `camctl energy`. all says that every account
// was asked for, so that shares and sums are the node's.
func WriteEnergy(w io.Writer, h History, all bool, s Style) error {
	var b strings.Builder
	t := text.Table{Columns: []text.Column{
		{Title: "ACCOUNT"}, {Title: "JOULES", Right: true}, {Title: "MEAN", Right: true},
		{Title: "SHARE", Right: true, Drop: 1}, {Title: "CPU-TIME", Right: true, Drop: 2},
		{Title: "J/CPU-S", Right: true, Drop: 4}, {Title: "WATTS OVER TIME", Drop: 3}, {Title: "MAX", Right: true, Drop: 5},
	}}
	starts := h.starts()
	for _, a := range h.Accounts {
		values := a.Watts(starts)
		row := []string{text.Clean(a.Name), text.Absent, text.Absent, text.Absent, "", "", "", ""}
		if len(h.Sources) > 0 && (!a.Lacking.Energy || a.Microjoules > 0) { // without energy of its own it used none
			row[1] = text.Joules(a.Microjoules)
			row[2] = text.Watts(a.MeanMicrowatts)
			if all {
				row[3] = text.Percent(a.Share)
			}
			row[6] = s.Charset.Sparkline(values, sparkCells, text.Highest(values))
			row[7] = text.Watts(text.Highest(values) * 1e6)
		}
		if a.Kind != Idle && a.Kind != Unattributed {
			row[4] = unless(a.Lacking.CPU && a.CPUNanoseconds == 0, cpuTime(a.CPUNanoseconds))
		}
		if a.PerCPUSecond != nil {
			row[5] = text.Joules(uint64(math.Round(*a.PerCPUSecond)))
		}
		t.Add(row...)
	}
	if len(t.Rows) == 0 {
		_, err := io.WriteString(w, "nothing was measured in this window yet\n")
		return err
	}
	if err := t.Write(&b, s.Width); err != nil {
		return err
	}
	b.WriteByte('\n')
	writeWindow(&b, h, s)
	m := Meter(h.Zones, h.Zone)
	switch {
	case h.Zone == "":
		remark(&b, s, "energy", "not metered on this node")
	default:
		remark(&b, s, "energy", fmt.Sprintf("zone %s: %s", text.Clean(h.Zone), h.label(m)))
		if all {
			remark(&b, s, "together", text.Joules(h.Microjoules)+" = "+text.WattHours(h.Microjoules))
		}
		if m.Sockets > 0 {
			writeConservation(&b, m, s)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeWindow(b *strings.Builder, h History, s Style) {
	from, to := h.Start.Local(), h.End.Local()
	layout := "2006-01-02 15:04:05"
	last := layout
	if from.Format(time.DateOnly) == to.Format(time.DateOnly) {
		last = time.TimeOnly
	}
	remark(b, s, "window", fmt.Sprintf("%s to %s, measured %s of it, from data at %s", from.Format(layout), to.Format(last),
		cpuTime(h.CoveredNanoseconds), text.Duration(time.Duration(h.ResolutionNanoseconds))))
}

// writeConservation states the invariant, since the accounts were opened.
func writeConservation(b *strings.Builder, m Metering, s Style) {
	remark(b, s, "conserved", fmt.Sprintf("agents %s + system %s + idle %s + unattributed %s = metered %s since the accounts were opened, residual %d µJ",
		text.Joules(m.Agents), text.Joules(m.System), text.Joules(m.Idling), text.Joules(m.Unattributed), text.Joules(m.Metered), m.Residual))
}

// label names the sources within the window, which may be others than now.
func (h History) label(m Metering) string {
	if len(h.Sources) == 0 {
		return "not metered in this window"
	}
	now := strings.Join(m.Sources, "+")
	then := strings.Join(h.Sources, "+")
	if now != then {
		return SourceLabel(then)
	}
	return m.describe()
}

// starts are the beginnings of all steps, in order.
func (h History) starts() []time.Time {
	var out []time.Time
	for _, a := range h.Accounts {
		for _, p := range a.Points {
			out = append(out, p.Start)
		}
	}
	slices.SortFunc(out, time.Time.Compare)
	return slices.CompactFunc(out, time.Time.Equal)
}
