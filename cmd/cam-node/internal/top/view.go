package top

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"

	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// styles use the terminal's own sixteen colours, so that its theme decides.
type styles struct {
	title, dim, strong, key, warn, badge, header, sorted lipgloss.Style
	part                                                 [4]lipgloss.Style // agents, system, idle, unattributed
}

func newStyles(r *lipgloss.Renderer) styles {
	colour := func(c string) lipgloss.Style { return r.NewStyle().Foreground(lipgloss.Color(c)) }
	return styles{
		title:  colour("6").Bold(true),
		dim:    colour("8"),
		strong: r.NewStyle().Bold(true),
		key:    colour("6"),
		warn:   colour("3").Bold(true),
		badge:  r.NewStyle().Reverse(true).Bold(true),
		header: r.NewStyle().Bold(true),
		sorted: r.NewStyle().Bold(true).Underline(true),
		part:   [4]lipgloss.Style{colour("6"), colour("4"), colour("8"), colour("5")},
	}
}

// View implements tea.Model: exactly height lines, none wider than width.
func (m *model) View() string {
	rows := report.Rows(m.latest, m.zone)
	agents, others := report.Split(rows)
	others = slices.DeleteFunc(others, func(r report.Row) bool {
		return !m.view.Shows(r.Kind) || r.Kind == report.Retired && r.Blank()
	})
	report.Sort(agents, m.options.Sort)
	metering := report.Meter(m.latest.Zones, m.zone)

	lines := []string{m.titleLine()}
	if m.height >= 8 {
		lines = append(lines, m.headline(metering, rows))
	}
	if m.height >= 20 {
		lines = append(lines, m.chart(metering)...)
	}
	if m.height >= 14 && metering.Sockets > 0 && m.view.Name == cpuView {
		lines = append(lines, m.bar(rows), m.legend(rows))
	}
	if m.height >= 16 {
		lines = append(lines, "")
	}
	foot := m.help()
	if m.height >= 12 && !m.helping {
		foot = append([]string{m.origin(metering)}, foot...)
	}
	layout := m.layout()
	peak := m.past.peak(m.shown(""), append(slices.Clone(agents), others...), layout.spark) // one scale, so that curves compare
	lines = append(lines, m.tableHeader(layout))
	room := m.height - len(lines) - len(foot)
	if m.height >= 14 && len(others) > 0 {
		foot = append(m.otherRows(others, layout, peak), foot...)
		room -= len(others) + 1
	}
	lines = append(lines, m.agentRows(agents, layout, max(0, room), peak)...)
	for len(lines) < m.height-len(foot) {
		lines = append(lines, "")
	}
	lines = append(lines, foot...)
	lines = lines[:min(len(lines), max(1, m.height))]
	for i, l := range lines {
		lines[i] = text.Cut(m.options.Style.Charset.Text(l), m.width)
	}
	return strings.Join(lines, "\n")
}

// between puts left and right at the ends of a line.
func (m *model) between(left, right string) string {
	blanks := m.width - text.Width(left) - text.Width(right) - 2
	if blanks < 1 {
		return " " + left
	}
	return " " + left + strings.Repeat(" ", blanks) + right
}

func (m *model) titleLine() string {
	title := m.styles.title.Render("camctl top") + "  " + m.styles.strong.Render(m.view.Title)
	left := title
	if m.host != "" {
		left += "  " + m.styles.dim.Render(text.Clean(m.host))
	}
	var state string
	switch {
	case m.lost != nil:
		state = m.styles.warn.Render("the node went away: waiting for it")
	case m.paused:
		state = m.styles.warn.Render("paused")
	default:
		state = m.styles.key.Render("live") + m.styles.dim.Render(" every "+text.Duration(steady(time.Duration(m.latest.IntervalNanoseconds)))) // #nosec G115 -- an interval
	}
	right := state + "  " + m.styles.dim.Render(m.latest.Time.Local().Format(time.TimeOnly))
	if text.Width(left)+text.Width(right)+3 > m.width {
		left = title // the reader knows the host
	}
	return m.between(left, right)
}

// steady leaves the jitter of a timer out.
func steady(interval time.Duration) time.Duration {
	if interval < 500*time.Millisecond {
		return interval.Round(10 * time.Millisecond)
	}
	return interval.Round(50 * time.Millisecond)
}

// headline is the machine in one line.
func (m *model) headline(metering report.Metering, rows []report.Row) string {
	var cores, read, write float64
	for _, r := range rows {
		cores += r.Cores
		read += r.ReadRate
		write += r.WriteRate
	}
	if m.view.Name != cpuView {
		return m.viewLine(metering, rows)
	}
	use := "cpu " + text.Percent(cores)
	if m.latest.Measured.IO {
		use += fmt.Sprintf("   read %s   write %s", text.ByteRate(read), text.ByteRate(write))
	}
	if metering.Sockets == 0 {
		return m.between(m.styles.warn.Render("energy is not metered")+m.styles.dim.Render(" (camctl doctor says why)"), use)
	}
	left := m.styles.strong.Render(text.Pad(text.Watts(float64(metering.Microwatts)), 7, true)) + " " + m.zoneLabel(metering)
	return m.between(left, use)
}

// viewLine is the view's figure of all accounts that it shows, or that nobody
// measures it.
func (m *model) viewLine(metering report.Metering, rows []report.Row) string {
	power := ""
	if metering.Sockets > 0 {
		power = text.Watts(float64(metering.Microwatts)) + " " + m.zoneLabel(metering)
	}
	if !m.view.Measured(m.latest.Measured) {
		return m.between(m.styles.warn.Render(m.view.Lack)+m.styles.dim.Render(" (camctl doctor says why)"), power)
	}
	sum, figure := 0.0, text.Absent
	for _, r := range rows {
		if v := m.view.Curve(r); (r.Kind == report.Agent || m.view.Shows(r.Kind)) && !math.IsNaN(v) {
			sum += v
			figure = m.view.Scale(sum)
		}
	}
	what := map[string]string{"io": "on disks", "memory": "held by agents", "waits": "tasks waiting for a CPU", "network": "sent and received by agents"}[m.view.Name]
	return m.between(m.styles.strong.Render(figure)+" "+m.styles.dim.Render(what), power)
}

// zoneLabel names the zone; what is simulated stands out.
func (m *model) zoneLabel(metering report.Metering) string {
	label := metering.Label()
	s := text.Clean(m.zone) + " "
	if metering.Sockets > 1 {
		s += fmt.Sprintf("x%d ", metering.Sockets)
	}
	if strings.Contains(label, "SIMULATED") || strings.Contains(label, "STALE") {
		return m.styles.dim.Render(s) + m.styles.badge.Render(" "+label+" ")
	}
	return m.styles.dim.Render(s + label)
}

const (
	chartRows = 3
	axisCells = 9
)

// chart draws what the view is about over time: the zone's watts, or CPUs where
// nothing is metered.
func (m *model) chart(metering report.Metering) []string {
	width := max(1, m.width-axisCells-2)
	label := text.Watts
	switch {
	case m.view.Scale != nil:
		label = m.view.Scale
	case metering.Sockets == 0:
		label = text.Percent
	}
	values := m.past.last(m.shown(whole), width)
	peak := text.Highest(values)
	drawn := m.options.Style.Charset.Area(values, width, chartRows, peak)
	axis := [chartRows]string{strings.TrimSuffix(label(peak), "/s"), "", "0"}
	for i, row := range drawn {
		drawn[i] = " " + m.styles.part[0].Render(row) + " " + m.styles.dim.Render(text.Pad(axis[i], axisCells-1, false))
	}
	return drawn
}

// parts are the watts of agents (retired ones too), system, idle, unattributed.
func parts(rows []report.Row) [4]float64 {
	var p [4]float64
	for _, r := range rows {
		switch r.Kind {
		case report.Agent, report.Retired:
			p[0] += r.Microwatts
		case report.System:
			p[1] += r.Microwatts
		case report.Idle:
			p[2] += r.Microwatts
		default:
			p[3] += r.Microwatts
		}
	}
	return p
}

// bar shows where the watts go.
func (m *model) bar(rows []report.Row) string {
	p := parts(rows)
	var b strings.Builder
	b.WriteByte(' ')
	for i, cells := range text.Shares(p[:], max(0, m.width-2)) {
		b.WriteString(m.styles.part[i].Render(strings.Repeat(m.options.Style.Charset.Fill[i], cells)))
	}
	return b.String()
}

func (m *model) legend(rows []report.Row) string {
	names := [4]string{"agents", "system", "idle", "unattributed"}
	if m.width < 76 {
		names = [4]string{"agents", "sys", "idle", "?"}
	}
	p := parts(rows)
	items := make([]string, 0, len(p))
	for i, microwatts := range p {
		items = append(items, m.styles.part[i].Render(m.options.Style.Charset.Fill[i])+" "+names[i]+" "+m.styles.strong.Render(text.Watts(microwatts)))
	}
	return " " + strings.Join(items, "   ")
}

// origin says where the figures came from.
func (m *model) origin(metering report.Metering) string {
	dot := " " + m.options.Style.Charset.Dot + " "
	s := "cpu " + text.Clean(m.latest.Sensor.Source)
	if m.latest.Sensor.Quality == "measured" {
		s += " exact"
	} else if m.latest.Sensor.Quality != "" {
		s += " " + text.Clean(m.latest.Sensor.Quality)
	}
	if metering.Sockets > 0 {
		s += dot + "energy " + metering.Label() + dot + fmt.Sprintf("residual %d µJ", metering.Residual)
	}
	if m.latest.Coarse {
		s += dot + "coarse"
	}
	if n := len(m.latest.Missing); n > 0 {
		s += dot + fmt.Sprintf("%d missing: camctl doctor", n)
	}
	return " " + m.styles.dim.Render(text.Cut(s, m.width-2))
}
