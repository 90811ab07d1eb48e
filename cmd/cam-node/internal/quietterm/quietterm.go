// Package quietterm keeps programs that can show a terminal interface from
// talking to the terminal when they do not.
//
// Bubble Tea v1 asks the terminal for its background colour in an init
// function (its tea_init.go): every command of the binary, `cam-node run`
// included, would write escape codes to its terminal and wait up to five
// seconds for an answer, which a serial console never gives. Stating the answer
// beforehand suppresses the question; nothing here uses adaptive colours.
//
// The order is certain: packages whose imports are initialised start in order
// of their import path (Go specification, "Program initialization"), this one
// needs nothing that Bubble Tea does not need, and cam-os sorts before
// charmbracelet.
package quietterm

import "github.com/charmbracelet/lipgloss"

func init() { lipgloss.SetHasDarkBackground(true) }
