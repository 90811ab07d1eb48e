//go:build !linux

package energy

import "errors"

// openPerf: only Linux has perf.
func openPerf(uint32, uint64, int) (perfEvent, error) { return nil, errors.ErrUnsupported }
