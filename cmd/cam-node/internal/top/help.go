package top

import (
	"strings"

	"github.com/cam-os/edge/cmd/cam-node/internal/report"
	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// help is one line of keys, the most needed first, or all of them when asked.
func (m *model) help() []string {
	items := [][2]string{{"q", "quit"}, {"?", "help"}, {"c", "cpu"}, {"i", "i/o"}, {"m", "mem"}, {"w", "waits"}, {"n", "net"},
		{"s", "sort"}, {"space", "pause"}, {"z", "zone"}, {"up/down", "scroll"}}
	if m.helping {
		items = [][2]string{{"q", "quit"}, {"?", "hide help"}}
		for _, v := range report.Views() {
			items = append(items, [2]string{v.Key, v.Title})
		}
		items = append(items, [2]string{"s", "sort by the next of " + sorts(m.view)}, [2]string{"space", "pause, go on"},
			[2]string{"z", "next energy zone"}, [2]string{"up/down, pgup/pgdown, home", "scroll"})
	}
	var lines []string
	line := ""
	if m.notice != "" {
		line = "  " + m.styles.warn.Render(m.notice)
	}
	for _, item := range items {
		label := m.styles.dim.Render(item[1])
		if item[0] == m.view.Key {
			label = m.styles.strong.Render(item[1])
		}
		next := "  " + m.styles.key.Render(item[0]) + " " + label
		if line != "" && text.Width(line+next) > m.width+1 {
			if !m.helping {
				break
			}
			lines, line = append(lines, line[1:]), ""
		}
		line += next
	}
	lines = append(lines, line[1:])
	return lines[:min(len(lines), max(1, m.height/2))]
}

// sorts names what a view's agents can be sorted by.
func sorts(v report.View) string {
	var names []string
	for _, k := range v.Sorts {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}
