package api

import (
	"regexp"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Bounds of requests.
const (
	maxAccounts       = 1000
	maxStreamInterval = 24 * time.Hour
	maxSince          = 400 * 24 * time.Hour // a year and a month are kept
	defaultSince      = time.Hour
	minStep           = time.Second
	maxPoints         = 10_000
)

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func checkName(name string) error {
	if !validName.MatchString(name) {
		return invalid("invalid name %.80q: use 1 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit", name)
	}
	return nil
}

// checkAccounts returns the set of names; nil means all.
func checkAccounts(names []string) (map[string]bool, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if len(names) > maxAccounts {
		return nil, invalid("%d accounts asked for; at most %d, or none for all", len(names), maxAccounts)
	}
	set := make(map[string]bool, len(names))
	for _, n := range names {
		if err := checkName(n); err != nil {
			return nil, err
		}
		set[n] = true
	}
	return set, nil
}

// checkDuration accepts an absent duration as 0.
func checkDuration(field string, d *durationpb.Duration, limit time.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, invalid("%s is no valid duration", field)
	}
	switch v := d.AsDuration(); {
	case v < 0:
		return 0, invalid("%s is %v; it cannot be negative", field, v)
	case v > limit:
		return 0, invalid("%s is %v; at most %v", field, v, limit)
	default:
		return v, nil
	}
}

// checkSeries returns a query within bounds.
func checkSeries(since, step *durationpb.Duration, accounts []string) (SeriesQuery, error) {
	q := SeriesQuery{Accounts: accounts}
	var err error
	if q.Since, err = checkDuration("since", since, maxSince); err != nil {
		return q, err
	}
	if q.Since == 0 {
		q.Since = defaultSince
	}
	if q.Step, err = checkDuration("step", step, maxSince); err != nil {
		return q, err
	}
	if q.Step > 0 {
		if q.Step < minStep {
			return q, invalid("step is %v; at least %v", q.Step, minStep)
		}
		if n := q.Since / q.Step; n > maxPoints {
			return q, invalid("%v in steps of %v are %d points; at most %d: take a longer step", q.Since, q.Step, n, maxPoints)
		}
	}
	_, err = checkAccounts(accounts)
	return q, err
}
