package node

import (
	"strconv"
	"strings"

	"github.com/cam-os/edge/ebpf/kernfs"
	"github.com/cam-os/edge/node/metrics"
	"github.com/cam-os/edge/node/observe"
	"github.com/cam-os/edge/store"
)

// Gauges are the figures of the node itself that no observation holds.
func (n *Node) Gauges() []metrics.Gauge {
	stat := func(f func(store.Stats) float64) func() float64 {
		return func() float64 { return f(n.store.Stats()) }
	}
	return []metrics.Gauge{
		{Name: "cam_store_bytes", Help: "Size of the database file, and of one that was quarantined.",
			Value: stat(func(s store.Stats) float64 { return float64(s.FileBytes + s.QuarantinedBytes) })},
		{Name: "cam_store_max_bytes", Help: "Cap of the store, compaction included.",
			Value: stat(func(s store.Stats) float64 { return float64(s.MaxBytes) })},
		{Name: "cam_store_commits_total", Help: "Commits to the database.", Counter: true,
			Value: stat(func(s store.Stats) float64 { return float64(s.Commits) })},
		{Name: "cam_store_commit_failures_total", Help: "Commits that failed; what they held is kept and tried again.", Counter: true,
			Value: stat(func(s store.Stats) float64 { return float64(s.CommitsFailed) })},
		{Name: "cam_store_dropped_points_total", Help: "Points of series dropped early to keep within the cap.", Counter: true,
			Value: stat(func(s store.Stats) float64 { return float64(s.Dropped) })},
		{Name: "cam_store_quarantines_total", Help: "Database files that were damaged and moved aside.", Counter: true,
			Value: stat(func(s store.Stats) float64 { return float64(s.Quarantines) })},
		{Name: "cam_store_degraded", Help: "1 while the store keeps figures in memory only.",
			Value: stat(func(s store.Stats) float64 {
				if s.Degraded != "" {
					return 1
				}
				return 0
			})},
		{Name: "cam_node_written_bytes_total", Help: "Bytes of pages that the node made dirty for storage: an upper bound of flash wear, since the kernel counts whole folios.", Counter: true,
			Value: func() float64 { return writtenBytes(n.cfg.Load().Path.Procfs) }},
		{Name: "cam_moves_lost_total", Help: "Moves of tasks between cgroups that came faster than they could be recorded.", Counter: true,
			Value: func() float64 { return float64(n.moves.lost.Load()) }},
		{Name: "cam_node_sample_failures_total", Help: "Intervals without a sample; the next one catches up.", Counter: true,
			Value: func() float64 { return float64(n.failures.Load()) }},
	}
}

// writtenBytes is write_bytes of /proc/self/io; 0 where the kernel has no
// task I/O accounting.
func writtenBytes(procfs string) float64 {
	data, err := kernfs.Read(procfs + "/self/io")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			f, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return f
		}
	}
	return 0
}

// MetricsSource is what a scrape sees: everything where every scrape must
// prove who it is, coarse figures otherwise.
func (n *Node) MetricsSource(cfg metrics.Config) (func() *observe.Observation, error) {
	full, err := cfg.Authenticated()
	if err != nil {
		return nil, err
	}
	if full {
		return n.Observation, nil
	}
	return func() *observe.Observation { return n.coarse.Step(n.Observation()) }, nil
}
