package node

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cam-os/edge/ebpf/block"
	"github.com/cam-os/edge/ebpf/histogram"
	"github.com/cam-os/edge/node/ledger"
)

// The store keeps what only some accounts have by name: counters by theirs,
// distributions and disks as a path.
//
//	throttled_time_ns
//	run_queue/sum_ns   run_queue/7
//	block/sda/write/bytes   block/sda/write/operations   block/sda/write/latency/12
const (
	runQueue = "run_queue"
	blockIO  = "block"
	sumNS    = "sum_ns"
	latency  = "latency"
)

func figures(u ledger.Usage) map[string]uint64 {
	out := make(map[string]uint64)
	for c, v := range u.Counters {
		if v != 0 {
			out[ledger.Counter(c).String()] = v // #nosec G115 -- below NumCounters
		}
	}
	times(out, runQueue, u.Wait)
	for k, b := range u.Block {
		at := blockIO + "/" + k.Device + "/" + k.Op.String() + "/"
		if b.Bytes != 0 {
			out[at+"bytes"] = b.Bytes
		}
		if b.Operations != 0 {
			out[at+"operations"] = b.Operations
		}
		times(out, at+latency, b.Latency)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func times(out map[string]uint64, at string, h histogram.Log2) {
	for i, n := range h.Counts {
		if n != 0 {
			out[at+"/"+strconv.Itoa(i)] = n
		}
	}
	if h.Sum > 0 {
		out[at+"/"+sumNS] = uint64(h.Sum)
	}
}

// figure is the inverse for one of them. A name that it does not know, of a
// newer node perhaps, is passed over.
func figure(u *ledger.Usage, name string, v uint64) {
	if c, ok := ledger.CounterNamed(name); ok {
		u.Counters[c] = v
		return
	}
	part := strings.Split(name, "/")
	switch {
	case len(part) == 2 && part[0] == runQueue:
		tally(&u.Wait, part[1], v)
	case len(part) >= 4 && part[0] == blockIO:
		op, ok := block.OperationNamed(part[2])
		if !ok {
			return
		}
		if u.Block == nil {
			u.Block = make(map[ledger.BlockKey]block.Usage)
		}
		k := ledger.BlockKey{Device: part[1], Op: op}
		b := u.Block[k]
		switch {
		case part[3] == "bytes":
			b.Bytes = v
		case part[3] == "operations":
			b.Operations = v
		case part[3] == latency && len(part) == 5:
			tally(&b.Latency, part[4], v)
		}
		u.Block[k] = b
	}
}

func tally(h *histogram.Log2, name string, v uint64) {
	if name == sumNS {
		h.Sum = time.Duration(min(v, math.MaxInt64)) // #nosec G115 -- bounded
		return
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(h.Counts) {
		h.Counts[i] = v
	}
}
