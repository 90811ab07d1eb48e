package energy

import (
	"fmt"
	"path"
)

// filter is what the operator knows about zones, by patterns for their names.
type filter struct {
	// ignore names meters to leave out, board those that see all the device.
	ignore, board []string
}

func (f filter) ignores(zone string) bool { return matches(f.ignore, zone) }

func (f filter) whole(zone string) bool { return matches(f.board, zone) }

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, name); ok { // validate has seen it
			return true
		}
	}
	return false
}

// validate refuses what is no pattern.
func (f filter) validate() error {
	for key, patterns := range map[string][]string{"ignore": f.ignore, "board": f.board} {
		for _, p := range patterns {
			if _, err := path.Match(p, ""); err != nil || p == "" {
				return fmt.Errorf("energy: %s: %q is no pattern for names of zones, such as vdd_*", key, p)
			}
		}
	}
	return nil
}
