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
	// Ignore leaves meters out whose zone's name matches a pattern (path.Match),
	// for sensors that lie. The model is no meter: a package without one is
	// estimated.
	Ignore []string
	// Board names, by patterns as well, the zones of sensors that see all that
	// the device draws, where their labels do not say so (an INA219 in the
	// supply line): they are divided by CPU time.
	Board []string
}

// Open finds every meter of the machine. Of several sources for one zone the
// first counts: powercap, then perf's RAPL PMU, then hwmon. There is always at
// least one zone: a package that none of them can read is estimated by the
// model. missing says in words what could not be had, and the remedy.
// The error is about the configuration only.
func Open(c Config) (m Meter, missing []string, err error) {
	c.Sysfs, c.Procfs = cmp.Or(c.Sysfs, "/sys"), cmp.Or(c.Procfs, "/proc")
	if err := c.validate(); err != nil {
		return nil, nil, err
	}
	cpu := readProcessor(c)
	amd, filter := cpu.vendor == "AuthenticAMD", c.filter()
	mt := &meter{
		powercap:    &powercap{sysfs: c.Sysfs, amd: amd, virtual: cpu.virtual, filter: filter},
		perf:        &perf{sysfs: c.Sysfs, amd: amd, filter: filter, open: openPerf},
		instruments: &instruments{sysfs: c.Sysfs, filter: filter, patience: patience},
		model:       &model{power: c.power(cpu)},
		processor:   cpu, idle: microwatts(c.IdleWatts),
	}
	return mt, mt.find(), nil
}

func (c Config) filter() filter { return filter{ignore: c.Ignore, board: c.Board} }

func (c Config) validate() error {
	if err := c.filter().validate(); err != nil {
		return err
	}
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

// meter joins all sources.
type meter struct {
	powercap    *powercap
	perf        *perf
	instruments *instruments
	model       *model
	// processor is what the model's power is looked up by.
	processor processor
	// idle is the configured idle power of a package, 0 where it is learned.
	idle Microwatts
}

// find looks for everything, and says what is missing.
func (m *meter) find() (missing []string) {
	missing = m.powercap.scan()
	byPerf := m.perf.scan(m.powercap.covers)
	missing = append(missing, byPerf...)
	others := m.instruments.scan()
	metered := slices.ContainsFunc(m.perf.known, func(c *count) bool { return c.zone.Name == Package && c.event != nil }) ||
		slices.ContainsFunc(m.instruments.known, func(i *instrument) bool { return i.zone.Name == Package && !m.instruments.filter.ignores(Package) })
	if why := m.powercap.absent; why != "" && !metered {
		missing = append(missing, m.powercap.noZones(why))
	}
	return append(missing, others...)
}

// Read implements Meter.
func (m *meter) Read(a Activity) []Reading {
	better := map[spot]Source{}
	var readings []Reading
	add := func(more []Reading) {
		for _, r := range more {
			if _, ok := better[r.Zone.spot()]; !ok {
				better[r.Zone.spot()] = r.Zone.Source
			}
			// Under one name for all sources, a simulator's, what a source
			// counted before it was superseded goes on in the better one.
			if i := slices.IndexFunc(readings, func(o Reading) bool { return o.Zone == r.Zone }); i >= 0 {
				readings[i].Total += r.Total
				continue
			}
			r.Weighing = cmp.Or(r.Weighing, CPUTime)
			readings = append(readings, r)
		}
	}
	add(m.powercap.read(a.At, a.Suspended))
	add(m.perf.read(a.At, a.Suspended, better))
	add(m.instruments.read(a.At, a.Suspended, better))
	metered := map[int]Source{}
	for i, r := range readings {
		if r.Zone.Name == Package {
			metered[r.Zone.Socket] = better[r.Zone.spot()]
			readings[i].Idle = m.idle
		}
	}
	add(m.model.read(a, metered))
	slices.SortFunc(readings, func(a, b Reading) int {
		return cmp.Or(
			cmp.Compare(order(a.Zone.Name), order(b.Zone.Name)),
			cmp.Compare(a.Zone.Name, b.Zone.Name),
			cmp.Compare(a.Zone.Socket, b.Zone.Socket),
			cmp.Compare(a.Zone.Source, b.Zone.Source),
		)
	})
	return readings
}

// order puts a processor's zones first.
func order(name string) int {
	if i := slices.Index(zoneNames, name); i >= 0 {
		return i
	}
	return len(zoneNames)
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
	m.perf.close()
	m.instruments.close()
	return nil
}
