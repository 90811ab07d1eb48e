package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// Clean makes a name safe to show: control characters, invisible and
// direction-changing ones, and broken UTF-8 are written as escapes, so that no
// cgroup's name can drive the terminal or impersonate another one.
func Clean(s string) string {
	ok := true
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	var b strings.Builder
	const hex = "0123456789abcdef"
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if unicode.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			b.WriteString(s[i : i+n])
		} else {
			for _, c := range []byte(s[i : i+n]) {
				b.WriteString(`\x`)
				b.WriteByte(hex[c>>4])
				b.WriteByte(hex[c&15])
			}
		}
		i += n
	}
	return b.String()
}

// Width is how many cells of a terminal s takes.
func Width(s string) int { return ansi.StringWidth(s) }

// Cut shortens s to at most width cells, and shows that it did.
func Cut(s string, width int) string {
	if width <= 0 {
		return ""
	}
	return ansi.Truncate(s, width, "~")
}

// Pad fills s with blanks to width cells, cutting what is longer.
func Pad(s string, width int, right bool) string {
	s = Cut(s, width)
	blanks := strings.Repeat(" ", max(0, width-Width(s)))
	if right {
		return blanks + s
	}
	return s + blanks
}

// Wrap breaks s at blanks so that lines, the first of which starts after
// indent too, fit in width cells; width 0 leaves it in one line.
func Wrap(s string, width int, indent string) string {
	room := width - Width(indent)
	if width == 0 || room < 20 {
		return s
	}
	// Dates and names are not broken at their hyphens.
	const hyphen, unbroken = "-", "\u2011"
	s = ansi.Wordwrap(strings.ReplaceAll(s, hyphen, unbroken), room, "")
	return strings.ReplaceAll(strings.ReplaceAll(s, unbroken, hyphen), "\n", "\n"+indent)
}
