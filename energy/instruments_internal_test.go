package energy

import (
	"os"
	"testing"
	"time"
)

// A sensor that takes long holds nobody up, and what it says at last counts for
// when it was asked; one that never answers is lost.
func TestSlowSensor(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan uint64)
	d := &device{id: "slow", root: root, dir: "slow"}
	i := &instrument{id: "slow/power1", zone: Zone{Name: "slow", Socket: AllSockets}, device: d,
		gauge: &gauge{limit: defaultLimit, ceiling: defaultLimit},
		read:  func(*os.Root) (uint64, string, error) { return <-release, "", nil }}
	p := &instruments{sysfs: "/none", patience: time.Millisecond, known: []*instrument{i}, devices: []*device{d}, scanned: time.Second}
	read := func(s int) []Reading {
		p.scanned = time.Duration(s) * time.Second
		return p.read(p.scanned, 0, nil)
	}
	for s := 1; s <= 3; s++ {
		if r := read(s); len(r) != 0 {
			t.Errorf("nothing was read yet: %+v", r)
		}
	}
	answer := func() {
		t.Helper()
		select {
		case release <- 10_000_000:
		case <-time.After(20 * time.Second):
			t.Fatal("it was not asked")
		}
	}
	answer()
	// The answer may take a moment to arrive.
	var r []Reading
	for r = read(4); len(r) == 0; r = read(4) {
	}
	if r[0].Age != 3*time.Second || r[0].Total != 0 {
		t.Errorf("asked at 1 s: %+v", r)
	}
	read(5)
	answer()
	for r = read(6); r[0].Total == 0; r = read(6) {
	}
	if r[0].Total.Joules() != 40 || r[0].State != Fresh || r[0].Age != time.Second {
		t.Errorf("from 1 to 5 s: %+v", r)
	}
	for s := 7; s <= 17; s++ {
		r = read(s)
	}
	if r[0].State != Fresh {
		t.Errorf("10 s: %+v", r)
	}
	if r = read(18); r[0].State != Lost || r[0].Faults != 1 || r[0].Note != "the device does not answer" {
		t.Errorf("11 s: %+v", r)
	}
	// It leaves while it is read, and can be bound again once it has answered.
	p.close()
	if r = read(19); d.settle() || r[0].State != Lost || r[0].Note != "the meter is closed" {
		t.Errorf("%+v", r)
	}
	answer()
	for !d.settle() {
		time.Sleep(time.Millisecond)
	}
}
