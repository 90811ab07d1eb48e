package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/bench/internal/rig"
)

// open gives a bench on this machine. Only a user without the rights has a
// reason to skip.
func open(t *testing.T) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making cgroups and loading eBPF takes root")
	}
	r, err := rig.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return &bench{rig: r, log: io.Discard}
}

func TestOnThisMachine(t *testing.T) {
	b := open(t)
	t.Run("short processes are charged as long ones", func(t *testing.T) { charged(t, b) })
	t.Run("all parts run", func(t *testing.T) { partsRun(t, b) })
}

// One agent burns; another runs processes that burn for a while each, one
// after another. Whatever the length of those, each agent is charged energy as
// it used CPU time, and every joule is somebody's.
func charged(t *testing.T, b *bench) {
	sim, err := b.rig.Simulate(idleWatts, busyWatts, false, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sim.Stop(); err != nil {
			t.Error(err)
		}
	}()
	n, err := b.rig.StartNode(t.Context(), sim.Sysfs)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, burst := range []time.Duration{time.Second, 50 * time.Millisecond, 2 * time.Millisecond} {
		u, err := runBursts(t.Context(), b.rig, n, sim, burst, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("bursts of %v: long/short: rusage %.2f/%.2f %%, node %.2f/%.2f %%: %.2f points apart",
			burst, u.truth(), 100-u.truth(), u.charged(), 100-u.charged(), u.points())
		if u.Short.Bursts == 0 || u.Short.CPU < burst {
			t.Errorf("%d bursts of %v used %v", u.Short.Bursts, burst, u.Short.CPU)
		}
		if u.points() > 2 {
			t.Errorf("bursts of %v: %.2f points apart", burst, u.points())
		}
		// The simulator measures apart from the sensor; it saw the same work.
		if truth := percent(u.Long.True, u.Short.True); max(u.truth()-truth, truth-u.truth()) > 2 {
			t.Errorf("bursts of %v: rusage gives %.2f %%, the simulator drew %.2f %%", burst, u.truth(), truth)
		}
	}
	if worst, zones, _, _ := b.rig.Residual.Worst(); worst != 0 || zones == 0 {
		t.Errorf("residual %v µJ in %d zones", worst, zones)
	}
}

// Every part runs and finds what it looks for, at a size that is no
// measurement.
func partsRun(t *testing.T, b *bench) {
	n, err := b.rig.StartNode(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if n.First <= 0 || n.Up < n.First {
		t.Errorf("first sample after %v, up after %v", n.First, n.Up)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	err = b.measureFootprint(t.Context(), size{
		agents: 3, sleepers: 2, window: time.Second, scrapeEvery: 500 * time.Millisecond, scrapes: 3,
		history: 61, commits: 11, fleets: []fleet{{2, 1 << 40}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.slowdown(t.Context(), 1, 1000); err != nil {
		t.Fatal(err)
	}
	if err := b.perEvent(1); err != nil {
		t.Fatal(err)
	}
	if err := b.conservation(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.rows {
		t.Logf("%s: %s (%s)", r.What, r.Measured, r.Against)
		if r.Measured == "not measured" {
			t.Errorf("%s: %s", r.What, r.Against)
		}
		if strings.HasPrefix(r.What, "Conservation") && r.Met != reached {
			t.Errorf("conservation: %s", r.Measured)
		}
	}
}
