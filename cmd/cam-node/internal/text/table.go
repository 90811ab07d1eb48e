package text

import (
	"io"
	"strings"
)

// Column of a table.
type Column struct {
	Title string
	// Right aligns numbers.
	Right bool
	// Drop says when the column gives way on a narrow terminal: the highest
	// first; 0 never.
	Drop int
}

// Table is aligned text.
type Table struct {
	Columns []Column
	Rows    [][]string
}

// Add appends a row; an empty row is drawn as a blank line.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

const gap = "  "

// Write writes the table, within width cells where width is above 0: columns
// are dropped in their order, and at last the first one is cut.
func (t *Table) Write(w io.Writer, width int) error {
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		widths[i] = Width(c.Title)
		for _, r := range t.Rows {
			if i < len(r) {
				widths[i] = max(widths[i], Width(r[i]))
			}
		}
	}
	shown := t.fit(widths, width)
	var b strings.Builder
	header := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		header[i] = c.Title
	}
	for _, r := range append([][]string{header}, t.Rows...) {
		line := make([]string, 0, len(shown))
		for _, i := range shown {
			cell := ""
			if i < len(r) {
				cell = r[i]
			}
			line = append(line, Pad(cell, widths[i], t.Columns[i].Right))
		}
		b.WriteString(strings.TrimRight(strings.Join(line, gap), " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// fit chooses the columns that fit, and narrows the first one if need be.
func (t *Table) fit(widths []int, width int) []int {
	shown := make([]int, len(t.Columns))
	for i := range shown {
		shown[i] = i
	}
	for width > 0 {
		total, drop := -len(gap), -1
		for n, i := range shown {
			total += widths[i] + len(gap)
			if t.Columns[i].Drop > 0 && (drop < 0 || t.Columns[i].Drop > t.Columns[shown[drop]].Drop) {
				drop = n
			}
		}
		if total <= width {
			break
		}
		if drop < 0 {
			widths[0] = max(8, widths[0]-(total-width))
			break
		}
		shown = append(shown[:drop], shown[drop+1:]...)
	}
	return shown
}
