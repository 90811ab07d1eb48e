// Package wire is what the lab and the program inside a guest say to each
// other: one JSON object a line over a virtio-serial port. The lab asks, the
// guest answers; answers come in any order and carry the question's ID.
package wire

import (
	"slices"
	"strings"
)

// Port is the name of the virtio-serial port.
const Port = "cam-lab"

// Request runs a shell script in the guest as root.
type Request struct {
	ID     uint64 `json:"id"`
	Script string `json:"script"`
	Stdin  []byte `json:"stdin,omitempty"`
	// Seconds after which the script and its children are killed.
	Seconds float64 `json:"seconds"`
}

// Reply is how it ended.
type Reply struct {
	ID     uint64 `json:"id"`
	Stdout []byte `json:"stdout,omitempty"`
	Stderr []byte `json:"stderr,omitempty"`
	// Code is the exit status, 128+n after signal n, 124 after the time limit.
	Code int `json:"code"`
}

// What the power-cut guest writes on its console, each followed by the node's
// counters as JSON: what it had after the start, what a commit covers, and
// what stopped the guest.
const (
	Started   = "LAB-STARTED"
	Committed = "LAB-COMMITTED"
	Failed    = "LAB-FAILED"
	// Configured ends the console of a guest that installed its packages.
	Configured = "LAB-CONFIGURED"
	// Stake is the counter that the guest makes grow after the start.
	Stake = "cam_agent_cpu_seconds_total{agent=b,source=cgroup}"
)

// ofProcess are counters of the node's process: they start anew with it.
var ofProcess = []string{
	"go_", "process_", "promhttp_", "cam_store_", "cam_probe_", "cam_energy_",
	"cam_node_self_", "cam_node_sample_", "cam_node_written_",
}

// Lasting says whether a counter belongs to the device and must never go back,
// whatever becomes of the node.
func Lasting(counter string) bool {
	return !slices.ContainsFunc(ofProcess, func(prefix string) bool { return strings.HasPrefix(counter, prefix) })
}
