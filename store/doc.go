// Package store keeps the accounts over restarts and the series over time.
//
// # What survives
//
// Append is called once an interval. It takes the point into the one-second
// ring (memory only: an hour, declared lossy) and into the running minute, and
// writes the live copy: a file in a tmpfs, so that accounts never go back over
// SIGKILL and restart, without wearing flash. Once a CommitEvery (one minute by
// default), and on Close, ledger and minutes are committed to state.db. A
// reboot or power cut loses the live copy, and so at most CommitEvery of
// accounts and minutes. What Commit acknowledged survives a power cut.
//
// # state.db
//
// A bbolt file with these buckets; integers in keys are big-endian:
//
//	meta     "schema" (4 bytes), "store" (16 bytes, the store's id), "created" (8 bytes, unix seconds)
//	state    "state" -> sealed State: the ledger and the minutes not yet filed
//	minutes  boot ordinal (4) minute of CLOCK_BOOTTIME (4) -> sealed Block with one point
//	hours    boot ordinal (4) hour of CLOCK_BOOTTIME (4)   -> sealed Block with one point
//	boots    boot ordinal (4) -> sealed Boot: its id and its latest plausible wall-clock offset
//
// The messages are in internal/storepb/store.proto; codec.go has the seal.
//
// Keys never come from the wall clock: a clock that jumps by years neither
// moves, overwrites nor expires anything, and once it is right again the points
// of the same boot show the right time. Retention is by number of points and
// by bytes, oldest first.
//
// Each commit writes few pages, since that decides how flash wears: minutes
// wait in the state value and are filed several at a time; pruning happens once
// an hour.
package store
