package node

import (
	"io"
	"log/slog"
	"testing"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
)

func TestOnlyEscapesAreKept(t *testing.T) {
	var m moves
	owner := func(id cgroup.ID) string { return map[cgroup.ID]string{2: "a", 3: "a", 4: "b"}[id] }
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	m.record(&sensor.Snapshot{Moves: []sensor.Move{{From: 1, To: 2}, {From: 2, To: 3}, {From: 2, To: 1, TID: 7}, {From: 3, To: 4, TID: 8}}}, owner, log)
	before := m.latest()
	if len(before) != 2 || before[0].TID != 7 || before[0].ToAccount != "system" || before[1].FromAccount != "a" || before[1].ToAccount != "b" {
		t.Fatalf("got %+v", before)
	}
	for range 100 {
		m.record(&sensor.Snapshot{Moves: []sensor.Move{{From: 2, To: 1, TID: 9}}, MovesLost: 5}, owner, log)
	}
	if got := m.latest(); len(got) != keptMoves || got[0].TID != 9 {
		t.Errorf("%d are kept", len(got))
	}
	if m.lost.Load() != 5 {
		t.Errorf("%d lost, want 5", m.lost.Load())
	}
	if len(before) != 2 || before[0].TID != 7 {
		t.Error("what was published has changed")
	}
}
