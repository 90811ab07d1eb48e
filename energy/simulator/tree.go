package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/cam-os/edge/energy"
	"golang.org/x/sys/unix"
)

const truthFile = "truth.json"

// tree is the directory that a simulator plays sysfs in.
type tree struct {
	root  string
	span  energy.Microjoules
	start energy.Microjoules
	cores []bool
	drams []bool
	gauges
	lock *os.File // the root directory: one simulator drives it at a time
}

// take locks the root for this simulator.
func (t *tree) take() error {
	if err := os.MkdirAll(t.root, 0o755); err != nil { // #nosec G301 -- as sysfs
		return fmt.Errorf("simulator: root: %w", err)
	}
	dir, err := os.Open(t.root)
	if err != nil {
		return fmt.Errorf("simulator: root: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { // #nosec G115 -- a descriptor
		return errors.Join(fmt.Errorf("simulator: root: another simulator drives %s (%w); end it or name another directory", t.root, err), dir.Close())
	}
	t.lock = dir
	return nil
}

func (t *tree) close() error { return t.lock.Close() }

// newTree makes the directories and all files that do not change.
func newTree(c Config) (tree, error) {
	t := tree{root: c.Root, span: microjoules(c.RangeJoules), start: microjoules(c.StartJoules)}
	if err := t.take(); err != nil {
		return t, err
	}
	if err := t.build(c); err != nil {
		return t, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *tree) build(c Config) error {
	powercap := filepath.Join(c.Root, "class/powercap")
	for _, class := range []string{powercap, filepath.Join(c.Root, hwmonDir), filepath.Join(c.Root, batteryDir)} {
		if _, err := os.Lstat(class); err != nil {
			continue
		}
		// Never draw over a tree that is somebody else's.
		if _, err := os.Stat(filepath.Join(c.Root, truthFile)); err != nil {
			return fmt.Errorf("simulator: root: %s exists and no simulator made it; name another directory", class)
		}
		if err := os.RemoveAll(class); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(powercap, 0o755); err != nil { // #nosec G301 -- as sysfs
		return fmt.Errorf("simulator: root: %w", err)
	}
	most := c.OtherWatts
	for _, l := range c.Loads {
		most = max(most, l.Watts)
	}
	for i, s := range c.Sockets {
		t.cores, t.drams = append(t.cores, s.Core), append(t.drams, s.DRAMWatts > 0)
		rated := microwatts(max(1, s.IdleWatts+most*float64(runtime.NumCPU())))
		errs := []error{t.zone(zoneName(i), fmt.Sprintf("package-%d", i), rated)}
		if s.Core {
			errs = append(errs, t.zone(coreName(i), energy.Core, rated))
		}
		if s.DRAMWatts > 0 {
			errs = append(errs, t.zone(dramName(i), energy.DRAM, microwatts(max(1, s.DRAMWatts))))
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("simulator: root: %w", err)
		}
	}
	if err := t.gauges.build(c); err != nil {
		return fmt.Errorf("simulator: root: %w", err)
	}
	return nil
}

func zoneName(socket int) string { return "intel-rapl:" + strconv.Itoa(socket) }
func coreName(socket int) string { return zoneName(socket) + ":0" }
func dramName(socket int) string { return zoneName(socket) + ":1" }

// zone makes a zone's directory; energy_uj appears last, with its first value.
func (t tree) zone(dir, name string, rated energy.Microwatts) error {
	dir = filepath.Join(t.root, "class/powercap", dir)
	if err := os.Mkdir(dir, 0o755); err != nil { // #nosec G301 -- as sysfs
		return err
	}
	return errors.Join(
		replace(filepath.Join(dir, "max_energy_range_uj"), number(t.span)),
		replace(filepath.Join(dir, "constraint_0_name"), []byte("long_term\n")),
		replace(filepath.Join(dir, "constraint_0_max_power_uw"), number(rated)),
		replace(filepath.Join(dir, "energy_uj"), number(t.start)),
		replace(filepath.Join(dir, "name"), []byte(name+"\n")),
	)
}

// write shows the truth in the counters and gauges, and in truth.json.
func (t *tree) write(truth Truth) error {
	var errs []error
	show := func(zone string, e energy.Microjoules) {
		file := filepath.Join(t.root, "class/powercap", zone, "energy_uj")
		errs = append(errs, replace(file, number((t.start+e)%t.span)))
	}
	for i, s := range truth.Sockets {
		show(zoneName(i), s.Total())
		if t.cores[i] {
			show(coreName(i), s.Active)
		}
		if t.drams[i] {
			show(dramName(i), s.DRAM)
		}
	}
	errs = append(errs, t.gauges.write(t.root, truth))
	text, err := json.MarshalIndent(truth, "", "  ")
	errs = append(errs, err, replace(filepath.Join(t.root, truthFile), append(text, '\n')))
	return errors.Join(errs...)
}

// replace puts a file in another's place, so that a reader sees all of the old
// one or all of the new one. Nothing is synced: it is no record.
func replace(file string, content []byte) error {
	next := file + ".next"
	if err := os.WriteFile(next, content, 0o644); err != nil { // #nosec G306 -- cpu.stat, which it shows, is public
		return err
	}
	return os.Rename(next, file)
}

func number[T energy.Microjoules | energy.Microwatts](v T) []byte {
	return append(strconv.AppendUint(nil, uint64(v), 10), '\n')
}

// remainder is what a division left, in its dividend's unit.
type remainder uint64

// add is p held for d units of time, of which unit make a second; what is
// below a microjoule waits for the next call.
func (r *remainder) add(p energy.Microwatts, d, unit uint64) energy.Microjoules {
	hi, lo := bits.Mul64(uint64(p), d)
	lo, carry := bits.Add64(lo, uint64(*r), 0)
	// hi < unit: a step is shorter than a year, and p below 100 kW.
	q, rest := bits.Div64((hi+carry)%unit, lo, unit)
	*r = remainder(rest)
	return energy.Microjoules(q)
}
