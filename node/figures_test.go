package node

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cam-os/edge/ebpf/block"
	"github.com/cam-os/edge/node/ledger"
)

func TestFiguresComeBack(t *testing.T) {
	u := ledger.Usage{CPU: time.Second}
	for c := range ledger.NumCounters {
		u.Counters[c] = uint64(c) + 1
	}
	u.Wait.Counts[0], u.Wait.Counts[25], u.Wait.Sum = 3, 4, time.Minute
	b := block.Usage{Bytes: 4096, Operations: 2}
	b.Latency.Counts[7], b.Latency.Sum = 2, 100*time.Microsecond
	u.Block = map[ledger.BlockKey]block.Usage{
		{Device: "sda", Op: block.Write}: b,
		{Device: "sda", Op: block.Flush}: {Operations: 1},
		{Device: "8:16", Op: block.Read}: {Bytes: 1},
	}
	if diff := cmp.Diff(u, ledgerUsage(storeUsage(u))); diff != "" {
		t.Error(diff)
	}
}

// Names of another version, or damaged ones, change nothing.
func TestUnknownFigures(t *testing.T) {
	var u ledger.Usage
	for _, name := range []string{"", "joy", "run_queue/26", "run_queue/-1", "run_queue/x", "run_queue", "block/sda/sing/bytes", "block/", "block/sda/read"} {
		figure(&u, name, 7)
	}
	if !u.IsZero() {
		t.Errorf("got %+v", u)
	}
}
