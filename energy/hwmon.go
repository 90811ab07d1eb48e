package energy

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

const hwmonDir = "class/hwmon"

// maxAttributes is how many sensors of one kind a device is asked for.
const maxAttributes = 512

// sensor is what a scan finds of an instrument.
type sensor struct {
	attribute string // "energy1", "power1", "in1"
	zone      Zone
	weighing  Weighing
	note      string
	accuracy  float64
	counts    bool       // a counter, not a gauge
	rated     Microwatts // the most that is drawn for long; 0 = not known
	sample    sampler
}

// site is a directory with sensors.
type site struct {
	id, dir string
	base    string // what it sits on: "0000:03:00.0", "1-0040", "BAT0"
	sensors []sensor
}

// hwmonSites finds the sensors of energy and power behind hwmon.
func hwmonSites(root *os.Root) ([]site, error) {
	names, err := list(root, hwmonDir)
	if err != nil {
		return nil, err
	}
	var sites []site
	for _, name := range names {
		dir := path.Join(hwmonDir, name)
		chip, err := readWord(root, path.Join(dir, "name"))
		if err != nil {
			continue // it is coming or going
		}
		base := ""
		if target, err := root.Readlink(path.Join(dir, "device")); err == nil {
			base = path.Base(target)
		}
		if base != "" && exists(root, path.Join(supplyDir, base)) {
			continue // a power supply, which shows more as one
		}
		s := site{id: "hwmon/" + chip + "/" + base, dir: dir, base: base}
		if s.sensors = chipSensors(root, dir, chip, base); len(s.sensors) > 0 {
			sites = append(sites, s)
		}
	}
	// By what does not change: the numbers do from boot to boot.
	slices.SortFunc(sites, func(a, b site) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.dir, b.dir)) })
	return sites, nil
}

// chipSensors finds the sensors of one chip. Where a counter and a gauge, or
// two of either, are called the same, the first counts: counters, then powers,
// then voltages with currents.
func chipSensors(root *os.Root, dir, chip, base string) []sensor {
	files, err := list(root, dir)
	if err != nil {
		return nil
	}
	has := func(name string) bool { _, ok := slices.BinarySearch(files, name); return ok }
	amdgpu := chip == "amdgpu"
	var out []sensor
	add := func(kind, n string, counts bool, sample sampler) {
		attribute := kind + n
		o := origin{chip: chip, device: base, attribute: attribute, first: n == "1", apu: amdgpu && has("in1_label")} // only APUs have vddnb
		if text, err := readWord(root, path.Join(dir, attribute+"_label")); err == nil {
			o.label = text
		}
		zone, weighing, note, ok := o.placed()
		if chip == "amd_energy" && ok {
			zone.Socket = packageOfNode(root, zone.Socket)
		}
		same := func(s sensor) bool { return s.zone == zone }
		if !ok || slices.ContainsFunc(out, same) {
			return
		}
		out = append(out, sensor{
			attribute: attribute, zone: zone, weighing: weighing, note: note,
			accuracy: accuracyOf(chip), counts: counts, sample: sample,
			rated: ratedPower(root, path.Join(dir, "power"+n)),
		})
	}
	for _, n := range numbered(files, "energy", "_input") {
		add("energy", n, true, func(d *os.Root) (uint64, string, error) {
			v, err := readGauge(d, "energy"+n+"_input")
			return v, "", err
		})
	}
	powers := numbered(files, "power", "_average")
	for _, n := range numbered(files, "power", "_input") {
		if !slices.Contains(powers, n) {
			powers = append(powers, n)
		}
	}
	for _, n := range powers {
		if amdgpu && n != "1" {
			continue // power2_average showed the first one's value again, until it was removed
		}
		add("power", n, false, powerSampler(n, has("power"+n+"_average"), has("power"+n+"_input")))
	}
	if strings.HasPrefix(chip, "ina") {
		// From the fourth on, an INA3221's in files are shunt voltages, and its
		// curr file is a sum (Documentation/hwmon/ina3221.rst).
		for _, n := range []string{"1", "2", "3"} {
			enabled, err := readWord(root, path.Join(dir, "in"+n+"_enable"))
			if has("in"+n+"_input") && has("curr"+n+"_input") && !has("power"+n+"_input") && (err != nil || enabled != "0") {
				add("in", n, false, railSampler(n))
			}
		}
	}
	return out
}

// packageOfNode is the package of a NUMA node. amd_energy counts its sockets by
// nodes (drivers/hwmon/amd_energy.c), of which a package can have several; each
// of them shows the whole package.
func packageOfNode(root *os.Root, node int) int {
	dir := fmt.Sprintf("devices/system/node/node%d", node)
	names, _ := list(root, dir)
	for _, cpu := range numbered(names, "cpu", "") {
		if id, err := readGauge(root, path.Join(dir, "cpu"+cpu, "topology/physical_package_id")); err == nil && id <= math.MaxInt16 {
			return int(id) // #nosec G115 -- checked
		}
	}
	return node
}

// powerSampler reads powerN_average, or powerN_input where there is no average
// to be read.
func powerSampler(n string, average, input bool) sampler {
	return func(d *os.Root) (uint64, string, error) {
		if average {
			v, err := readGauge(d, "power"+n+"_average")
			if err == nil || !input {
				return v, "", err
			}
		}
		v, err := readGauge(d, "power"+n+"_input")
		return v, "", err
	}
}

// railSampler multiplies mV with mA.
func railSampler(n string) sampler {
	return func(d *os.Root) (uint64, string, error) {
		mv, err := readGauge(d, "in"+n+"_input")
		if err != nil {
			return 0, "", err
		}
		ma, err := readGauge(d, "curr"+n+"_input")
		if err != nil {
			return 0, "", err
		}
		uw, err := product(mv, ma, 1)
		return uw, "", err
	}
}

// ratedPower is what the driver says that powerN can draw for long; 0 if it
// says nothing.
func ratedPower(root *os.Root, power string) (rated Microwatts) {
	for _, limit := range []string{"_rated_max", "_cap_max"} {
		if v, err := readGauge(root, power+limit); err == nil {
			rated = max(rated, Microwatts(v))
		}
	}
	return rated
}

// numbered lists the N of the files prefixNsuffix, in order.
func numbered(files []string, prefix, suffix string) []string {
	var numbers []int
	for _, f := range files {
		middle, ok := strings.CutPrefix(f, prefix)
		if !ok {
			continue
		}
		if middle, ok = strings.CutSuffix(middle, suffix); !ok {
			continue
		}
		if n, err := strconv.ParseUint(middle, 10, 16); err == nil && strconv.FormatUint(n, 10) == middle {
			numbers = append(numbers, int(n))
		}
	}
	slices.Sort(numbers)
	var out []string
	for _, n := range numbers[:min(len(numbers), maxAttributes)] {
		out = append(out, strconv.Itoa(n))
	}
	return out
}

// list names what a directory holds, sorted; nothing if it is not there.
func list(root *os.Root, dir string) ([]string, error) {
	d, err := openDir(root, dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(maxNames)
	if len(names) == 0 && err != nil {
		return nil, nil // empty
	}
	slices.Sort(names)
	return names, nil
}

func exists(root *os.Root, name string) bool {
	_, err := root.Stat(name)
	return err == nil
}

// readWord is a file's text without white space around it.
func readWord(root *os.Root, name string) (string, error) {
	text, err := readShort(root, name)
	return strings.TrimSpace(text), err
}

// readGauge reads a number that hwmon or power_supply shows.
func readGauge(root *os.Root, name string) (uint64, error) {
	text, _, err := readFile(root, name)
	if err != nil {
		return 0, err
	}
	return parseGauge(text)
}

// parseGauge reads a decimal number. hwmon may show negative ones: such power
// or energy is refused. So are the topmost 4096 of 32 bits: amdgpu has shown
// its error codes so, as 4295 W.
func parseGauge(b []byte) (uint64, error) {
	v, err := parseSigned(b)
	switch {
	case err != nil:
		return 0, err
	case v < 0:
		return 0, fmt.Errorf("%d is negative", v)
	case v >= 1<<32-4096 && v < 1<<32:
		return 0, fmt.Errorf("%d is an error code, not a value: the driver failed", v)
	}
	return uint64(v), nil
}

func parseSigned(b []byte) (int64, error) {
	text := strings.TrimSuffix(string(b), "\n")
	if text == "" {
		return 0, errors.New("the file is empty")
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || text[0] == '+' {
		return 0, fmt.Errorf("%q is not a whole number of 64 bits", clip([]byte(text)))
	}
	return v, nil
}
