package api

import (
	"errors"
	"time"

	"github.com/cam-os/edge/node/agent"
	"github.com/cam-os/edge/node/ledger"
)

// Errors that a Node's answers wrap, so that a caller learns what to do. Their
// text goes to the caller; the text of others only to administrators.
var (
	// ErrInvalidName: no agent may be called so.
	ErrInvalidName = agent.ErrInvalidName
	// ErrNameTaken: a living agent is called so.
	ErrNameTaken = agent.ErrNameTaken
	// ErrTooMany: a bound of the configuration is reached.
	ErrTooMany = agent.ErrTooMany
	// ErrUnsupported: this machine or configuration cannot do it.
	ErrUnsupported = agent.ErrUnsupported
	// ErrUnavailable: not now; try again.
	ErrUnavailable = errors.New("not available now")
)

// SeriesQuery asks what was measured over time.
type SeriesQuery struct {
	// Since is how far back, above 0.
	Since time.Duration
	// Step is the width of a point; 0 lets the node choose.
	Step time.Duration
	// Accounts are names; empty means all.
	Accounts []string
}

// SeriesResult answers, oldest first.
type SeriesResult struct {
	Points []SeriesPoint
	// Resolution of the stored data that the points were made from.
	Resolution time.Duration
}

// SeriesPoint is the use during one step.
type SeriesPoint struct {
	Start time.Time
	// Covered is how much of the step was measured.
	Covered time.Duration
	// Usage by account.
	Usage map[string]ledger.Usage
}

// Status is what the doctor sees.
type Status struct {
	Version  string
	Started  time.Time
	Findings []Finding
}

// Level of a finding.
type Level uint8

const (
	// OK: as it should be.
	OK Level = iota
	// Degraded: works, with less than could be had.
	Degraded
	// Failed: does not work.
	Failed
)

// Finding is one thing that was looked at.
type Finding struct {
	Name   string
	Level  Level
	Detail string
	// Remedy is what to do about it; empty when OK.
	Remedy string
}
