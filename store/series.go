package store

import (
	"time"
)

// Series returns what accounts used from from until to, oldest first, one
// point a step.
func (s *Store) Series(from, to time.Time, step time.Duration, accounts []string) (points []Point, resolution time.Duration, err error) {
	return nil, 0, nil
}
