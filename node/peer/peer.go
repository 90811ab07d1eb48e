// Package peer says who is at the other end of a unix socket, from the kernel
// only: nothing that a caller sends names it.
//
// A process is not its number. Between connect and accept a client may have
// handed its socket on, exited, and left its number to somebody else. So the
// number from SO_PEERCRED is never used by itself:
//
//   - Linux 6.5 and newer: SO_PEERPIDFD is the very process that connected.
//   - Older: pidfd_open holds whoever has the number now. It cannot have
//     started after the accept (field 22 of /proc/PID/stat), but it may have
//     started between connect and accept; ticks of 10 ms would blur that
//     anyway. What settles it is that the kernel stamps its writer on all data
//     (SO_PASSCRED): data sent after the number was held, with that number on
//     it, was sent by the held process. Until such data came, Check waits. Every
//     HTTP/2 client sends some: it must acknowledge the server's settings.
//
// While the pidfd says that its process lives, its number is nobody else's, so
// that /proc/PID is read between two looks at the pidfd. The open file then
// stays bound to that process (fs/proc/base.c, proc_single_show), and reading
// it again is what re-checks the cgroup at each call.
//
// An identity is good while the peer lives and stays in its cgroup; afterwards
// the connection is closed. It is not transferable either: data that any other
// process wrote closes it too. Whatever cannot be established is a refusal.
//
// A process with CAP_SYS_ADMIN in the node's own pid and user namespace can
// forge the stamp (net/core/scm.c, scm_check_creds); it can also leave any
// cgroup, so nothing is lost by that.
package peer

import (
	"fmt"
	"time"
)

// Peer is the process that connected.
type Peer struct {
	// PID in the node's pid namespace.
	PID int
	// UID and GID are the effective ids at the time of connecting, Groups the
	// supplementary ones.
	UID, GID uint32
	Groups   []uint32
	// Cgroup is the path below the cgroup2 root (the "0::" line), cleaned, with
	// a leading slash.
	Cgroup string
	// StartTime is CLOCK_BOOTTIME, rounded down to a clock tick (10 ms).
	StartTime time.Duration
}

// In says whether the peer belongs to a group.
func (p Peer) In(gid uint32) bool {
	if p.GID == gid {
		return true
	}
	for _, g := range p.Groups {
		if g == gid {
			return true
		}
	}
	return false
}

// Reason classifies why a connection was refused or closed.
type Reason string

const (
	// Unknown: the kernel did not tell who is there.
	Unknown Reason = "unknown"
	// Foreign: the peer lies outside of the node's pid or cgroup namespace.
	Foreign Reason = "foreign"
	// Exited: the process that connected is no more.
	Exited Reason = "exited"
	// Reused: its number belongs to a process that started later.
	Reused Reason = "reused"
	// Unproven: the process that has its number did not show that it holds the
	// connection.
	Unproven Reason = "unproven"
	// Moved: it is in another cgroup than when it connected.
	Moved Reason = "moved"
	// Passed: another process used the connection, or sent descriptors on it.
	Passed Reason = "passed"
	// Crowded: Config.Admit said no, or too many waited for their handshake.
	Crowded Reason = "crowded"
)

// Refusal is why a peer has no identity, or has lost it.
type Refusal struct {
	Reason Reason
	Err    error
}

func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Err }

func refuse(r Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: r, Err: fmt.Errorf(format, args...)}
}
