// Package wire is what the lab and the program inside a guest say to each
// other: one JSON object a line over a virtio-serial port. The lab asks, the
// guest answers; answers come in any order and carry the question's ID.
package wire

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
