package energy_test

import (
	"testing"
	"time"

	"github.com/cam-os/edge/energy"
)

// A machine that is calibrated while it is metered counts on from where it was.
func TestCalibrate(t *testing.T) {
	c := machineFiles(t, "vendor_id : GenuineIntel\nmodel name : none\n", "")
	c.IdleWatts, c.MaxWatts = 2, 10
	m, _ := open(t, c)
	read := func(second int) energy.Reading {
		return find(m.Read(energy.Activity{
			At: time.Duration(second) * time.Second, Busy: []time.Duration{0}, CPUs: []int{1}, Packages: []int{0},
		}), energy.Package, 0)
	}
	read(0)
	if r := read(1); r.Total != 2_000_000 {
		t.Fatalf("metered %v before", r.Total)
	}
	if err := m.Calibrate(5, 4); err == nil {
		t.Error("idle above max is no error")
	}
	if r := read(2); r.Total != 4_000_000 {
		t.Fatalf("a refused calibration changed it: %v", r.Total)
	}
	if err := m.Calibrate(3, 12); err != nil {
		t.Fatal(err)
	}
	if r := read(3); r.Total != 7_000_000 || r.Idle != 3_000_000 {
		t.Errorf("metered %v, idle %v afterwards", r.Total, r.Idle)
	}
	// Back to what the table says.
	if err := m.Calibrate(0, 0); err != nil {
		t.Fatal(err)
	}
	if r := read(4); r.Total < 7_000_000 {
		t.Errorf("it went back to %v", r.Total)
	}
}
