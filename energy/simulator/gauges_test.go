package simulator_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/energy/simulator"
)

// A board's rail and a battery see all that the machine draws: integrated
// between readings, they come to the truth.
func TestGaugesShowAll(t *testing.T) {
	root := t.TempDir()
	config := simulator.Config{
		Root: root, Board: true, Battery: true, Cgroup: filepath.Join(root, "none"),
		Sockets: []simulator.Socket{{IdleWatts: 7.5, DRAMWatts: 1.25}, {IdleWatts: 3}},
	}
	for range 2 { // again over its own tree
		now := time.Minute
		sim, err := simulator.New(config, now)
		if err != nil {
			t.Fatal(err)
		}
		meter, missing, err := energy.Open(energy.Config{Sysfs: root})
		if err != nil || len(missing) != 0 {
			t.Fatal(missing, err)
		}
		step := func() []energy.Reading {
			now += time.Second
			if err := sim.Step(now); err != nil {
				t.Fatal(err)
			}
			return meter.Read(energy.Activity{At: now})
		}
		step()
		from := sim.Truth().Drawn()
		for range 10 {
			step()
		}
		drawn := (sim.Truth().Drawn() - from).Joules()
		seen := 0
		for _, r := range step() {
			if r.Zone.Name != "vdd_in" && r.Zone.Name != "bat0" {
				continue
			}
			seen++
			if got := r.Total.Joules() - 11.75; math.Abs(got-drawn) > 0.01*drawn || r.Zone.Source != energy.Simulated || r.Weighing != energy.CPUTime {
				t.Errorf("%.3f J drawn, %+v", drawn, r)
			}
		}
		if seen != 2 {
			t.Errorf("%d gauges", seen)
		}
		if err := sim.Close(); err != nil {
			t.Fatal(err)
		}
		_ = meter.Close()
	}
}

// Sensors that are somebody else's are not drawn over.
func TestGaugesOfOthers(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "class/hwmon/hwmon0"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := simulator.New(simulator.Config{Root: root}, time.Second); err == nil || !strings.Contains(err.Error(), "no simulator made it") {
		t.Error(err)
	}
}
