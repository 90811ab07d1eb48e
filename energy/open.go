package energy

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Config says where to look and what is known about the machine.
type Config struct {
	// Sysfs and Procfs are roots; "" means /sys and /proc.
	Sysfs, Procfs string
	// IdleWatts and MaxWatts are the power of one package when nothing and
	// when everything runs. The model takes 0 from a table of processors; a
	// metered package with 0 idle watts has its baseline learned.
	IdleWatts, MaxWatts float64
}

// Open finds every meter of the machine. There is always at least one: a
// package that has no powercap zone, or one that cannot be read, is estimated
// by the model. missing says in words what could not be had, and the remedy.
// The error is about the configuration only.
func Open(c Config) (m Meter, missing []string, err error) {
	c.Sysfs, c.Procfs = cmp.Or(c.Sysfs, "/sys"), cmp.Or(c.Procfs, "/proc")
	if err := c.validate(); err != nil {
		return nil, nil, err
	}
	cpu := readProcessor(c)
	pc := &powercap{sysfs: c.Sysfs, amd: cpu.vendor == "AuthenticAMD", virtual: cpu.virtual}
	missing = pc.scan()
	return &meter{
		powercap: pc, model: &model{power: c.power(cpu)},
		processor: cpu, idle: microwatts(c.IdleWatts),
	}, missing, nil
}

func (c Config) validate() error {
	for _, w := range []struct {
		name  string
		value float64
	}{{"idle watts", c.IdleWatts}, {"max watts", c.MaxWatts}} {
		if math.IsNaN(w.value) || w.value < 0 || w.value > absurd.Watts() {
			return fmt.Errorf("energy: %s is %v; give the watts of one package, 0 to %v, where 0 takes them from the table of processors", w.name, w.value, absurd.Watts())
		}
	}
	if c.MaxWatts > 0 && c.IdleWatts > c.MaxWatts {
		return errors.New("energy: idle watts are above max watts; swap or correct them")
	}
	return nil
}

// meter joins the counters with a model for the packages without one.
type meter struct {
	powercap *powercap
	model    *model
	// processor is what the model's power is looked up by.
	processor processor
	// idle is the configured idle power of a package, 0 where it is learned.
	idle Microwatts
}

// Read implements Meter.
func (m *meter) Read(a Activity) []Reading {
	readings := m.powercap.read(a.At, a.Suspended)
	metered := map[int]Source{}
	for i, r := range readings {
		if r.Zone.Name == Package {
			metered[r.Zone.Socket] = r.Zone.Source
			readings[i].Idle = m.idle
		}
	}
	readings = append(readings, m.model.read(a, metered)...)
	slices.SortFunc(readings, func(a, b Reading) int {
		return cmp.Or(
			cmp.Compare(slices.Index(zoneNames, a.Zone.Name), slices.Index(zoneNames, b.Zone.Name)),
			cmp.Compare(a.Zone.Socket, b.Zone.Socket),
			cmp.Compare(a.Zone.Source, b.Zone.Source),
		)
	})
	return readings
}

// Calibrate implements Meter.
func (m *meter) Calibrate(idleWatts, maxWatts float64) error {
	c := Config{IdleWatts: idleWatts, MaxWatts: maxWatts}
	if err := c.validate(); err != nil {
		return err
	}
	m.idle, m.model.power = microwatts(idleWatts), c.power(m.processor)
	return nil
}

// Close implements Meter.
func (m *meter) Close() error {
	m.powercap.close()
	return nil
}
