//go:build !linux

package energy

import "os"

// sourceOf: only Linux has a powercap tree of its own.
func sourceOf(*os.File) Source { return Simulated }

// nonblocking: only Linux has files to read here.
const nonblocking = os.O_RDONLY
