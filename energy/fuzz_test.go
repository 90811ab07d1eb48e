package energy_test

import (
	"strings"
	"testing"

	"github.com/cam-os/edge/energy"
)

// Whatever a device prints, zones have proper names, nothing goes back, and
// what is refused is counted.
func FuzzSensors(f *testing.F) {
	f.Add("ina3221", "VDD_IN", "5000", "100", "Discharging")
	f.Add("amdgpu", "PPT", "4294967274", "-5", "Charging")
	f.Add("amd_energy", "Esocket1", "99999999999999999999", "", "\x00")
	f.Add("xe", "pkg", "NaN", "0x10", "Full")
	f.Fuzz(func(t *testing.T, chip, label, one, two, status string) {
		root := t.TempDir()
		plain(t, root, 0, chip, "dev0", map[string]string{
			"energy1_input": one, "energy1_label": label, "power1_input": two, "power1_label": "p" + label,
			"power2_average": one, "power2_cap_max": two, "in1_input": one, "curr1_input": two, "in1_label": "i" + label,
		})
		supply(t, root, "BAT0", map[string]string{"type": "Battery", "status": status, "current_now": one, "voltage_now": two})
		m, _, err := energy.Open(energy.Config{Sysfs: root, Procfs: "testdata/none"})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		var before []energy.Reading
		for s := 1; s < 6; s++ {
			readings := m.Read(at(s))
			for _, b := range before {
				if r := find(readings, b.Zone.Name, b.Zone.Socket); r.Total < b.Total || r.Faults < b.Faults {
					t.Fatalf("%+v, then %+v", b, r)
				}
			}
			for _, r := range readings {
				if n := r.Zone.Name; n == "" || len(n) > 63 || strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" || r.Error > 2 {
					t.Fatalf("%+v", r)
				}
				if r.Total > energy.Microwatts(8_000_000_000).Over(5*1e9) {
					t.Fatalf("jumped: %+v", r)
				}
			}
			before = readings
			set(t, root, "class/hwmon/hwmon0/energy1_input", two)
			set(t, root, "class/hwmon/hwmon0/power1_input", one)
			one, two = two, one
		}
	})
}
