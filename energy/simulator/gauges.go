package simulator

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cam-os/edge/energy"
)

const (
	hwmonDir   = "class/hwmon/hwmon0"
	batteryDir = "class/power_supply/BAT0"
	// boardMillivolts is what the simulated rail carries; the current has a
	// resolution of 1 mA, as the chip's.
	boardMillivolts = 5000
)

// gauges are the sensors that show the power of the whole machine.
type gauges struct {
	board, battery bool
	drawn          energy.Microjoules // at the last write
	at             time.Duration
}

// Drawn is what the whole machine drew: all that Board and Battery see.
func (t Truth) Drawn() (all energy.Microjoules) {
	for _, s := range t.Sockets {
		all += s.Total() + s.DRAM
	}
	return all
}

// build makes the files that do not change.
func (g *gauges) build(c Config) error {
	g.board, g.battery = c.Board, c.Battery
	var errs []error
	files := func(dir string, content map[string]string) {
		dir = filepath.Join(c.Root, dir)
		errs = append(errs, os.MkdirAll(dir, 0o755)) // #nosec G301 -- as sysfs
		for name, text := range content {
			errs = append(errs, replace(filepath.Join(dir, name), []byte(text+"\n")))
		}
	}
	if g.board {
		files(hwmonDir, map[string]string{
			"name": "ina3221", "in1_label": "VDD_IN", "in1_enable": "1",
			"in1_input": strconv.Itoa(boardMillivolts), "curr1_input": "0",
		})
		errs = append(errs, os.Symlink("../../../devices/i2c-1/1-0040", filepath.Join(c.Root, hwmonDir, "device")))
	}
	if g.battery {
		files(batteryDir, map[string]string{"type": "Battery", "present": "1", "status": "Discharging", "power_now": "0"})
	}
	return errors.Join(errs...)
}

// write shows the mean power since the last write.
func (g *gauges) write(root string, truth Truth) error {
	drawn := truth.Drawn()
	gained, elapsed := drawn-g.drawn, truth.At-g.at
	first := g.at == 0
	g.drawn, g.at = drawn, truth.At
	if first || elapsed <= 0 {
		return nil
	}
	power := energy.Microwatts(float64(gained) / elapsed.Seconds())
	var errs []error
	if g.board {
		errs = append(errs, replace(filepath.Join(root, hwmonDir, "curr1_input"), number((power+boardMillivolts/2)/boardMillivolts)))
	}
	if g.battery {
		errs = append(errs, replace(filepath.Join(root, batteryDir, "power_now"), number(power)))
	}
	return errors.Join(errs...)
}
