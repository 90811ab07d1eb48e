package top

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/lipgloss"

	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// layout is which columns fit, in cells; 0 leaves one out.
type layout struct{ name, cpu, read, write, watts, spark, joules int }

// layout divides the width: first what is asked most, then what there is room
// for; names and curves share what is left over.
func (m *model) layout() layout {
	l := layout{name: 8, watts: 7}
	left := m.width - 2 - l.name - 2 - l.watts
	take := func(column *int, cells int) {
		if left >= cells+2 {
			*column = cells
			left -= cells + 2
		}
	}
	take(&l.cpu, 5)
	take(&l.joules, 7)
	take(&l.spark, 8)
	take(&l.read, 7)
	take(&l.write, 7)
	if left > 0 {
		more := left
		if l.spark > 0 {
			more = min(left, 6+left/4)
			l.spark += left - more
		}
		l.name += more
	}
	return l
}

// row lays cells out; style colours the whole but the curve.
func (l layout) row(style lipgloss.Style, name, cpu, read, write, watts, spark, joules string) string {
	cells := []string{style.Render(text.Pad(name, l.name, false))}
	add := func(width int, cell string) {
		if width > 0 {
			cells = append(cells, style.Render(text.Pad(cell, width, true)))
		}
	}
	add(l.cpu, cpu)
	add(l.read, read)
	add(l.write, write)
	add(l.watts, watts)
	if l.spark > 0 {
		cells = append(cells, spark)
	}
	add(l.joules, joules)
	return " " + strings.Join(cells, "  ")
}

func (m *model) tableHeader(l layout) string {
	curve := "WATTS OVER TIME"
	if m.zone == "" {
		curve = "CPU OVER TIME"
	}
	if l.spark < len(curve) {
		curve = "OVER TIME"
	}
	return l.row(m.styles.header, "AGENT", "CPU", "READ/S", "WRITE/S", "WATTS", m.styles.header.Render(text.Pad(curve, l.spark, false)), "JOULES")
}

// agentRows shows the agents that there is room for, from the scroll position.
func (m *model) agentRows(agents []report.Row, l layout, room int, peak float64) []string {
	if len(agents) == 0 {
		return []string{m.styles.dim.Render(text.Cut(" no agents yet: camctl run --name NAME -- COMMAND", m.width))}[:min(1, room)]
	}
	m.scroll = min(m.scroll, max(0, len(agents)-room))
	shown := agents[m.scroll:]
	more := 0
	if len(shown) > room {
		more = len(shown) - room
		if room > 1 {
			more++ // the last line says so
		}
		shown = shown[:len(shown)-more]
	}
	lines := make([]string, 0, len(shown)+1)
	for _, r := range shown {
		lines = append(lines, m.accountRow(r, l, peak, m.styles.part[0]))
	}
	if more > 0 && room > 1 {
		lines = append(lines, m.styles.dim.Render(fmt.Sprintf(" and %d more", more)))
	}
	return lines
}

// otherRows shows what is no agent, below a rule.
func (m *model) otherRows(others []report.Row, l layout, peak float64) []string {
	lines := []string{" " + m.styles.dim.Render(strings.Repeat(m.options.Style.Charset.Rule, max(0, m.width-2)))}
	for _, r := range others {
		part := m.styles.part[3]
		switch r.Kind {
		case report.Retired:
			part = m.styles.part[0]
		case report.System:
			part = m.styles.part[1]
		case report.Idle:
			part = m.styles.part[2]
		}
		lines = append(lines, m.accountRow(r, l, peak, part))
	}
	return lines
}

func (m *model) accountRow(r report.Row, l layout, peak float64, curveStyle lipgloss.Style) string {
	style := m.styles.strong.Bold(false)
	cpu, read, write := r.CPU(), perSecond(r.Reads()), perSecond(r.Writes())
	switch {
	case r.Kind == report.Idle, r.Kind == report.Unattributed && r.Cores == 0:
		cpu, read, write = "", "", ""
	case r.State == "ended", r.State == "empty":
		style, cpu = m.styles.dim, r.State
	}
	zone := m.zone
	if len(m.latest.Zones) == 0 {
		zone = coresZone
	}
	spark := curveStyle.Render(m.options.Style.Charset.Sparkline(m.past.last(curve{zone, r.Name}, l.spark), l.spark, peak))
	return l.row(style, text.Clean(r.Name), cpu, read, write, r.Watts(), spark, r.Joules())
}

// perSecond leaves the unit of time to the column's title.
func perSecond(rate string) string { return strings.TrimSuffix(rate, "/s") }
