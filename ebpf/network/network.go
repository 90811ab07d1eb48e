// Package network counts what cgroups send and receive.
package network

import (
	"github.com/cam-os/edge/ebpf/cgroup"
)

// Traffic is cumulative since the cgroup was followed. It never goes back.
// Bytes are those of IP packets, their headers included, loopback too; a
// socket belongs to the cgroup that made it.
type Traffic struct {
	ReceivedBytes, ReceivedPackets uint64
	SentBytes, SentPackets         uint64
	// Refused counts outgoing TCP connections that the peer answered with a reset.
	Refused uint64
}

// Counter counts for the cgroups that it follows, their descendants included.
//
//	c, err := Open(hierarchyRoot)          // *sensor.UnsupportedError says what is missing
//	err = c.Follow(cgroupID, path)         // attach; idempotent; path below the cgroup2 root
//	c.Unfollow(cgroupID)                   // and forget
//	traffic, err := c.Read()               // map[cgroup.ID]Traffic, by followed cgroup
//	c.Probes(); c.Missing(); c.Close()
type followed struct {
	id   cgroup.ID
	path string
}

var _ = followed{}
