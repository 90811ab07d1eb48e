// Package ledger keeps the accounts: what every agent has used, ever.
//
// It is pure: it has no clock and does no I/O. Each interval it takes one
// Snapshot of the sensor and charges the CPU time, switches and bytes of every
// cgroup to the account that owns it (Charge); then it takes the readings of
// all meters and divides the joules of every zone by the on-CPU time on that
// zone's socket (Divide):
//
//	metered = idle + Σ agents + retired + system + unattributed
//
// holds for every zone in integer microjoules after every Divide. Idle is the
// zone's baseline power over the interval, learned apart (energy.Baseline).
// Unattributed is the part of overflow: use that was measured while the
// sensor had no room to name its cgroup, and energy that moved while nobody
// ran.
//
// A meter that stands still keeps the weights: when it moves again, the energy
// is divided by all the work done since it last moved, not by the work of the
// interval in which it happened to move.
package ledger
