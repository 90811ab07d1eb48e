package energy

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path"
)

const supplyDir = "class/power_supply"

// supplySites finds batteries and inputs that show power.
//
// A battery shows what the device draws only while it discharges; charging, it
// shows what it takes, and full, nothing. An input counts only if it shows
// power_now. Batteries of peripherals (scope Device: mice, gamepads) are not
// the device's.
func supplySites(root *os.Root) ([]site, error) {
	names, err := list(root, supplyDir)
	if err != nil {
		return nil, err
	}
	var sites []site
	for _, name := range names {
		dir := path.Join(supplyDir, name)
		kind, err := readWord(root, path.Join(dir, "type"))
		scope, _ := readWord(root, path.Join(dir, "scope"))
		zone := Zone{Name: unreserved(zoneName(name)), Socket: AllSockets, Source: PowerSupply}
		if err != nil || scope == "Device" || zone.Name == "" {
			continue
		}
		s := sensor{attribute: "power_now", zone: zone, weighing: CPUTime, accuracy: 0.05}
		has := func(file string) bool { return exists(root, path.Join(dir, file)) }
		switch {
		case kind == "Battery" && (has("power_now") || has("current_now") && has("voltage_now")):
			s.sample = battery
		case kind != "Battery" && has("power_now"):
			s.sample, s.note = input, "contains what charges a battery"
		default:
			continue
		}
		sites = append(sites, site{id: "power_supply/" + name, dir: dir, base: name, sensors: []sensor{s}})
	}
	return sites, nil
}

// battery reads what a battery gives: power_now in µW, or current_now (µA) ×
// voltage_now (µV). Drivers differ in the sign of what flows out, so only
// status tells the direction.
func battery(d *os.Root) (uint64, string, error) {
	status, err := readWord(d, "status")
	if err != nil {
		return 0, "", err
	}
	switch status {
	case "Discharging":
	case "Charging", "Not charging", "Full", "Unknown":
		return 0, fmt.Sprintf("the battery's status is %q: what the device draws is not known, and nothing is counted until it discharges", status), nil
	default:
		return 0, "", fmt.Errorf("status is %q", clip([]byte(status)))
	}
	if text, _, err := readFile(d, "power_now"); err == nil {
		v, err := parseSigned(text)
		return magnitude(v), "", err
	}
	amps, err := flow(d, "current_now")
	if err != nil {
		return 0, "", err
	}
	volts, err := flow(d, "voltage_now")
	if err != nil {
		return 0, "", err
	}
	uw, err := product(amps, volts, 1_000_000)
	return uw, "", err
}

// input reads what a supply other than a battery gives.
func input(d *os.Root) (uint64, string, error) {
	if online, err := readWord(d, "online"); err == nil && online == "0" {
		return 0, "the supply is not plugged in", nil
	}
	v, err := readGauge(d, "power_now")
	return v, "", err
}

func flow(d *os.Root, file string) (uint64, error) {
	text, _, err := readFile(d, file)
	if err != nil {
		return 0, err
	}
	v, err := parseSigned(text)
	return magnitude(v), err
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v) // #nosec G115 -- two's complement, exact for all
	}
	return uint64(v)
}

// product is a × b ÷ by, or an error if it does not fit.
func product(a, b, by uint64) (uint64, error) {
	hi, lo := bits.Mul64(a, b)
	if hi >= by {
		return 0, errors.New("current × voltage does not fit 64 bits")
	}
	q, _ := bits.Div64(hi, lo, by)
	return q, nil
}
