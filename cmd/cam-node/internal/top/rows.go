package top

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/lipgloss"

	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// layout is which columns of a view fit, in cells; 0 leaves one out.
type layout struct {
	view    report.View
	name    int
	columns []int
	spark   int
}

// layout divides the width: first what is asked most, then what there is room
// for; names and curves share what is left over.
func (m *model) layout() layout {
	l := layout{view: m.view, name: 8, columns: make([]int, len(m.view.Columns))}
	if m.view.Name != cpuView && m.width >= 70 {
		l.name = 12 // "unattributed"
	}
	left := m.width - 2 - l.name
	most := m.view.CurveRank
	for _, c := range m.view.Columns {
		most = max(most, c.Rank)
	}
	for rank := 0; rank <= most; rank++ {
		for i, c := range m.view.Columns {
			if c.Rank == rank && (rank == 0 || left >= c.Cells+2) {
				l.columns[i] = c.Cells
				left -= c.Cells + 2
			}
		}
		if rank == m.view.CurveRank && left >= sparkCells+2 {
			l.spark = sparkCells
			left -= sparkCells + 2
		}
	}
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

// sparkCells is how wide a curve is at least.
const sparkCells = 8

// row lays cells out; style colours the whole but the curve.
func (l layout) row(style func(column int) lipgloss.Style, name string, figures []string, spark string) string {
	cells := []string{style(-1).Render(text.Pad(name, l.name, false))}
	for i := range l.columns {
		if i == l.view.CurveAt && l.spark > 0 {
			cells = append(cells, spark)
		}
		if l.columns[i] > 0 {
			cells = append(cells, style(i).Render(text.Pad(figures[i], l.columns[i], true)))
		}
	}
	if l.view.CurveAt >= len(l.columns) && l.spark > 0 {
		cells = append(cells, spark)
	}
	return " " + strings.Join(cells, "  ")
}

// tableHeader marks the column that agents are sorted by.
func (m *model) tableHeader(l layout) string {
	title := l.view.CurveTitle
	if m.ofCPUs() {
		title = "CPU OVER TIME"
	}
	if l.spark < text.Width(title) {
		title = "OVER TIME"
	}
	if l.spark < text.Width(title) {
		title = "TREND"
	}
	titles := make([]string, len(l.view.Columns))
	for i, c := range l.view.Columns {
		titles[i] = c.Title
	}
	style := func(column int) lipgloss.Style {
		by := report.ByName
		if column >= 0 {
			by = l.view.Columns[column].Sort
		}
		if by == m.options.Sort {
			return m.styles.sorted
		}
		return m.styles.header
	}
	return l.row(style, "AGENT", titles, m.styles.header.Render(text.Pad(title, l.spark, false)))
}

// ofCPUs: where nothing is metered, curves show CPUs.
func (m *model) ofCPUs() bool { return m.view.Name == cpuView && len(m.latest.Zones) == 0 }

// shown is the curve of an account in the view that is shown.
func (m *model) shown(account string) curve {
	switch {
	case m.ofCPUs():
		return curve{cpuView, coresZone, account}
	case m.view.Name == cpuView:
		return curve{cpuView, m.zone, account}
	}
	return curve{m.view.Name, "", account}
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
	if r.State == "ended" || r.State == "empty" {
		style = m.styles.dim
	}
	spark := curveStyle.Render(m.options.Style.Charset.Sparkline(m.past.last(m.shown(r.Name), l.spark), l.spark, peak))
	return l.row(func(int) lipgloss.Style { return style }, text.Clean(r.Name), l.view.Cells(r), spark)
}
