package energy

import (
	"regexp"
	"slices"
	"strings"
)

// longestName is the most bytes of a zone's name.
const longestName = 63

// zoneName makes a label fit to be a zone's name: lower case, and everything
// but letters, digits, "_" and "-" a single "-". "" if nothing is left.
func zoneName(label string) string {
	var b strings.Builder
	for _, c := range []byte(strings.ToLower(label)) {
		ok := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-'
		if !ok {
			c = '-'
		}
		if c == '-' && (b.Len() == 0 || strings.HasSuffix(b.String(), "-")) {
			continue
		}
		b.WriteByte(c)
	}
	s := b.String()
	return strings.Trim(s[:min(len(s), longestName)], "-")
}

// qualified is a name with what tells it from others of that name.
func qualified(name, by string) string {
	by = zoneName(by)
	by = strings.Trim(by[:min(len(by), longestName/2)], "-")
	room := longestName - len(by) - 1
	return strings.Trim(strings.Trim(name[:min(len(name), room)], "-")+"-"+by, "-")
}

// unreserved keeps a label from passing for a processor's zone.
func unreserved(name string) string {
	if slices.Contains(zoneNames, name) {
		return "rail-" + name
	}
	return name
}

// gpus are the chips whose sensors are a GPU's: its drivers' hwmon names
// (drivers/gpu/drm: amdgpu, radeon, nouveau, i915, xe).
var gpus = regexp.MustCompile(`^(amdgpu|radeon|nouveau|i915|i915_gt\d+|xe)$`)

// wholes are the labels of sensors that see all that the device draws: NVIDIA
// Jetson's input rail (VDD_IN, POM_5V_IN on the Nano), POWER's firmware
// (System), power supplies (corsair-psu: power total) and Apple's SMC.
var wholes = regexp.MustCompile(`^(vdd_in|pom_5v_in|sys_in|vin_sys|system|system-power|power-total|total-power|total-system-power)$`)

var (
	// socketLabel is amd_energy's label of the package of a NUMA node
	// (drivers/hwmon/amd_energy.c); coreLabel that of one core, which lies in it.
	socketLabel = regexp.MustCompile(`^esocket(\d+)$`)
	coreLabel   = regexp.MustCompile(`^ecore\d+$`)
	// chipLabel is POWER firmware's label of a processor or of a part of it,
	// by chip id, which is the package id too.
	chipLabel = regexp.MustCompile(`^chip-(\d+)(-[a-z0-9_-]+)?$`)
	gpuWord   = regexp.MustCompile(`(^|[_-])gpu`)
	cpuWord   = regexp.MustCompile(`(^|[_-])cpu`)
)

// origin is what is known of a sensor before it is read.
type origin struct {
	chip, device string // hwmon's name, and the base name of what it sits on
	attribute    string // "power1"
	first        bool   // of its kind on the chip
	label        string // "" if it has none
	apu          bool   // an amdgpu that is part of a processor
}

// placed says what zone a sensor meters, by what it is called; ok is false if
// it is none to read.
func (o origin) placed() (zone Zone, weighing Weighing, note string, ok bool) {
	label, chip := zoneName(o.label), zoneName(o.chip)
	zone = Zone{Socket: AllSockets, Source: HWMon}
	switch {
	case gpus.MatchString(o.chip):
		zone.Name, note = o.gpu(label)
		return zone, NoWeighing, note, true
	case o.chip == "amd_energy" && coreLabel.MatchString(label), o.chip == "ina3221" && label == "nc":
		return zone, "", "", false // within the package's; nothing is connected
	case o.chip == "amd_energy" && socketLabel.MatchString(label):
		zone.Name = Package
		zone.Socket, ok = socketOf(label[len("esocket"):])
		return zone, CPUTime, "", ok
	case o.chip == "ibmpowernv" && chipLabel.MatchString(label):
		m := chipLabel.FindStringSubmatch(label)
		if zone.Socket, ok = socketOf(m[1]); m[2] == "" {
			zone.Name = Package
		} else {
			zone.Name = label
		}
		return zone, CPUTime, "", ok
	case o.chip == "power_meter":
		zone.Name = "power_meter"
		return zone, CPUTime, "", true
	case label == "":
		zone.Name = unnamed(chip, o.device)
		if !o.first {
			zone.Name = qualified(zone.Name, o.attribute)
		}
		return zone, NoWeighing, "which rail it is on is not known", zone.Name != ""
	}
	zone.Name = unreserved(label)
	switch {
	case wholes.MatchString(label):
		return zone, CPUTime, "", true
	case cpuWord.MatchString(label) && !gpuWord.MatchString(label):
		return zone, CPUTime, "", true
	}
	return zone, NoWeighing, "", true
}

// gpu names a GPU by its address, since numbers of cards change.
func (o origin) gpu(label string) (name, note string) {
	name = unnamed("gpu", strings.TrimPrefix(o.device, "0000:"))
	if part, ok := strings.CutPrefix(o.chip, "i915_"); ok {
		name = qualified(name, part)
	}
	if o.chip == "xe" && label != "" {
		name = qualified(name, label)
	}
	if o.apu {
		note = "an APU: its power is that of the whole package, cores included, or near to it"
	}
	return name, note
}

func unnamed(what, device string) string {
	if zoneName(device) == "" {
		return what
	}
	return qualified(what, device)
}

// accuracyOf is the relative standard uncertainty of a chip's sensors.
//
// TI's INA219 and INA3221 have gain errors below 1% (data sheets SBOS448,
// SBOS576), and shunts of boards 1%. Fuel gauges and meters of ACPI promise
// some 5%. Figures of amd_energy and of GPUs are modelled from activity, as
// AMD's RAPL (see uncertainty). Of others nothing is known: 10% is assumed.
func accuracyOf(chip string) float64 {
	switch {
	case strings.HasPrefix(chip, "ina"):
		return 0.02
	case chip == "power_meter", chip == "ibmpowernv":
		return 0.05
	}
	return 0.10
}
