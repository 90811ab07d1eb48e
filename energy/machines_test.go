package energy_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/energy"
)

// set writes a file of a planted tree, through its links.
func set(t failer, root, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, file), []byte(text+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	joule = energy.Microjoules(1_000_000)
	deck  = "class/hwmon/hwmon5/"
)

// Eight kinds of machine: which zones they have, who is to pay for them, and
// what they counted after some seconds. A step is what changes before a
// reading, which are a second apart.
func TestMachines(t *testing.T) {
	for listing, m := range map[string]struct {
		config  energy.Config
		missing []string // what is said, in this order
		zones   string   // name/socket:weighing
		steps   []map[string]string
		totals  map[string]energy.Microjoules // name/socket
	}{
		"power-meter.txtar": {
			zones: "package/0:cpu_time package/1:cpu_time dram/0:cpu_time dram/1:cpu_time power_meter/-1:cpu_time",
			steps: []map[string]string{{
				"class/powercap/intel-rapl:0/energy_uj":   "102445678901",
				"class/powercap/intel-rapl:0:0/energy_uj": "20121222333",
				"class/hwmon/hwmon0/power1_average":       "412000000",
			}, {}},
			totals: map[string]energy.Microjoules{"package/0": 100 * joule, "dram/0": 10 * joule, "package/1": 0, "power_meter/-1": 362*joule + 412*joule},
		},
		"laptop-battery.txtar": {
			zones: "package/0:cpu_time psys/-1:cpu_time bat0/-1:cpu_time gpu-03-00-0/-1:none",
			steps: []map[string]string{{
				"class/power_supply/BAT0/current_now":    "-850000", // some drivers show a sign
				"class/hwmon/hwmon3/energy1_input":       "5552721110",
				"class/powercap/intel-rapl:1/energy_uj":  "99897766554",
				"class/power_supply/AC/online":           "0",
				"class/power_supply/BAT0/capacity_level": "Normal",
			}},
			// The GPU would sleep if it were left alone, so it is looked at every 20 s.
			totals: map[string]energy.Microjoules{"bat0/-1": 9 * joule, "gpu-03-00-0/-1": 0, "psys/-1": 10 * joule},
		},
		"epyc.txtar": {
			zones: "package/0:cpu_time package/1:cpu_time",
			steps: []map[string]string{{
				"class/hwmon/hwmon3/energy5_input": "987774321000",
				"class/hwmon/hwmon3/energy6_input": "987774321000",
				"class/hwmon/hwmon3/energy7_input": "876633210000",
			}},
			totals: map[string]energy.Microjoules{"package/0": 120 * joule, "package/1": 90 * joule},
		},
		"amd-desktop.txtar": {
			missing: []string{"NVIDIA GPU at 0000:05:00.0 is not metered"},
			zones:   "package/0:cpu_time core/0:cpu_time gpu-0b-00-0/-1:none",
			steps: []map[string]string{
				{"class/hwmon/hwmon2/power1_average": "201000000", "class/powercap/intel-rapl:0/energy_uj": "45728901234"},
				{"class/hwmon/hwmon2/power1_average": "199000000"},
			},
			totals: map[string]energy.Microjoules{"gpu-0b-00-0/-1": 116*joule + 200*joule, "package/0": 50 * joule},
		},
		"jetson-orin.txtar": {
			missing: []string{"no powercap zones"},
			zones:   "vdd_cpu_gpu_cv/-1:none vdd_in/-1:cpu_time vdd_soc/-1:none",
			steps:   []map[string]string{{}, {"class/hwmon/hwmon1/curr1_input": "1680"}},
			totals: map[string]energy.Microjoules{
				"vdd_in/-1":  energy.Microjoules(4968*1480 + 4968*(1480+1680)/2),
				"vdd_soc/-1": 2 * 4968 * 304, "vdd_cpu_gpu_cv/-1": 2 * 4960 * 512,
			},
		},
		"pi-ina219.txtar": {
			config:  energy.Config{Board: []string{"ina219-*"}},
			missing: []string{"no powercap zones"},
			zones:   "ina219-1-0040/-1:cpu_time",
			steps:   []map[string]string{{"class/hwmon/hwmon2/power1_input": "6180000"}, {}},
			totals:  map[string]energy.Microjoules{"ina219-1-0040/-1": 5_180_000 + 6_180_000},
		},
		"power9.txtar": {
			zones: "package/0:cpu_time package/8:cpu_time chip-0-vdd/0:cpu_time gpu-0/-1:none system/-1:cpu_time",
			steps: []map[string]string{{
				"class/hwmon/hwmon0/energy1_input": "5555680000000",
				"class/hwmon/hwmon0/energy2_input": "1222241000000",
				"class/hwmon/hwmon0/power2_input":  "900000000", // the counter of that name counts
				"class/hwmon/hwmon0/power5_input":  "35000000",
			}},
			totals: map[string]energy.Microjoules{"system/-1": 180 * joule, "package/0": 41 * joule, "package/8": 0, "chip-0-vdd/0": 13 * joule, "gpu-0/-1": 34 * joule},
		},
		"steam-deck.txtar": {
			zones: "package/0:cpu_time core/0:cpu_time bat1/-1:cpu_time gpu-04-00-0/-1:none",
			steps: []map[string]string{
				{deck + "power1_average": "6000000", "class/power_supply/BAT1/power_now": "11240000"},
				{"class/power_supply/BAT1/status": "Charging", "class/power_supply/BAT1/power_now": "45000000"},
			},
			totals: map[string]energy.Microjoules{"bat1/-1": 10_240_000, "gpu-04-00-0/-1": 5*joule + 6*joule},
		},
	} {
		t.Run(listing, func(t *testing.T) {
			root := plant(t, listing)
			m.config.Sysfs = root
			meter, missing := open(t, m.config)
			if len(missing) != len(m.missing) {
				t.Errorf("missing %q", missing)
			}
			for i, want := range m.missing {
				if i < len(missing) && !strings.Contains(missing[i], want) {
					t.Errorf("missing %q, want %q", missing[i], want)
				}
			}
			first := meter.Read(at(1))
			var got []string
			for _, r := range first {
				got = append(got, fmt.Sprintf("%s/%d:%s", r.Zone.Name, r.Zone.Socket, r.Weighing))
				if r.Total != 0 || r.State != energy.Fresh || r.Zone.Source != energy.Simulated || !strings.HasPrefix(r.Note, "simulated") {
					t.Errorf("%+v", r)
				}
			}
			if got := strings.Join(got, " "); got != m.zones {
				t.Errorf("got  %s\nwant %s", got, m.zones)
			}
			last := first
			for i, step := range m.steps {
				for _, file := range slices.Sorted(maps.Keys(step)) {
					set(t, root, file, step[file])
				}
				now := meter.Read(at(2 + i))
				conserved(t, last, now)
				last = now
			}
			seen := 0
			for _, r := range last {
				want, ok := m.totals[fmt.Sprintf("%s/%d", r.Zone.Name, r.Zone.Socket)]
				if !ok {
					continue
				}
				seen++
				if r.Total != want || r.Faults != 0 || r.Error > 0.5 {
					t.Errorf("%s: %d µJ, want %d: %+v", r.Zone.Name, r.Total, want, r)
				}
			}
			if seen != len(m.totals) {
				t.Errorf("%d of %d zones: %s", seen, len(m.totals), zones(last))
			}
		})
	}
}

// conserved divides what every zone used, and sums the parts.
func conserved(t *testing.T, before, now []energy.Reading) {
	t.Helper()
	if len(before) > len(now) {
		t.Fatalf("zones were forgotten: %s, then %s", zones(before), zones(now))
	}
	for _, b := range before {
		i := slices.IndexFunc(now, func(r energy.Reading) bool { return r.Zone == b.Zone })
		if i < 0 || now[i].Total < b.Total {
			t.Fatalf("%v went back or was forgotten: %+v", b.Zone, b)
		}
		metered := now[i].Total - b.Total
		weights, nobody := []uint64{310_000_007, 89_999_999}, uint64(1_000_003)
		if now[i].Weighing == energy.NoWeighing {
			weights, nobody = nil, 0
		}
		p := energy.Divide(metered, energy.Microwatts(3_333_333).Over(time.Second), weights, nobody)
		sum := p.Idle + p.Unattributed
		for _, s := range p.Shares {
			sum += s
		}
		if sum != metered || weights == nil && p.Unattributed != metered-p.Idle {
			t.Errorf("%v: %+v sum to %d of %d", b.Zone, p, sum, metered)
		}
	}
}

// On the kernel's sysfs the sources would have their own names; those that the
// machine has are found, and none is called simulated.
func TestThisMachine(t *testing.T) {
	m, missing := open(t, energy.Config{Procfs: "/proc"})
	readings := m.Read(energy.Activity{At: time.Second, Busy: []time.Duration{0}, CPUs: []int{1}, Packages: []int{0}})
	if len(readings) == 0 {
		t.Errorf("no zone; missing %q", missing)
	}
	for _, r := range readings {
		if r.Zone.Source == energy.Simulated || r.Zone.Source.Measured() == (r.Zone.Source == energy.Model) {
			t.Errorf("%+v", r)
		}
	}
}
