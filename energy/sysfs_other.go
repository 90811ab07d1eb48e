//go:build !linux

package energy

import "os"

// sourceOf: only Linux has a powercap tree of its own.
func sourceOf(*os.File) Source { return Simulated }

func openNonblocking(root *os.Root, name string) (*os.File, error) { return root.Open(name) }
