package energy

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"time"
)

// pmuDir is perf's RAPL PMU (arch/x86/events/rapl.c; the files are those of
// Documentation/ABI/testing/sysfs-bus-event_source-devices-events).
const pmuDir = "bus/event_source/devices/power"

// pmuZones are the events and their zones.
var pmuZones = []struct{ event, zone string }{
	{"energy-pkg", Package}, {"energy-cores", Core}, {"energy-gpu", Uncore}, {"energy-ram", DRAM}, {"energy-psys", Psys},
}

// perfEvent is an open event: a count that never goes back while it is open.
type perfEvent interface {
	Count() (uint64, error)
	Close() error
}

// perf reads RAPL through perf, for zones that powercap does not show. The
// kernel extends the counters to 64 bits, so they do not wrap.
type perf struct {
	sysfs  string
	amd    bool
	filter filter
	// open opens an event of a PMU type on a CPU, for all processes.
	open    func(pmu uint32, config uint64, cpu int) (perfEvent, error)
	known   []*count
	scanned time.Duration
}

// count is one event on one CPU: a die's counter.
type count struct {
	zone       Zone
	cpu        int
	scale      factor
	event      perfEvent // nil while it is not open
	reason     string
	superseded Source
	counter
}

// scan opens the events of zones that nobody covers, and says what could not
// be had. A machine without the PMU is no fault.
func (p *perf) scan(covered func(spot) bool) (missing []string) {
	root, err := openTree(p.sysfs)
	if err != nil {
		return nil
	}
	defer root.Close()
	kind, err := readWord(root, path.Join(pmuDir, "type"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	pmu, typeErr := strconv.ParseUint(kind, 10, 32)
	mask, maskErr := readWord(root, path.Join(pmuDir, "cpumask"))
	cpus, listErr := parseCPUs(mask)
	if err := errors.Join(err, typeErr, maskErr, listErr); err != nil {
		return []string{fmt.Sprintf("energy: perf's power events in %s make no sense: %v", path.Join(p.sysfs, pmuDir), err)}
	}
	source := PerfRAPL
	if treeSource(root, pmuDir) == Simulated {
		source = Simulated
	}
	for _, z := range pmuZones {
		config, scale, err := readEvent(root, z.event)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			missing = append(missing, fmt.Sprintf("energy: perf's event %s makes no sense: %v", z.event, err))
			continue
		}
		for _, cpu := range cpus {
			zone := Zone{Name: z.zone, Socket: AllSockets, Source: source}
			if z.zone != Psys {
				id, err := readGauge(root, fmt.Sprintf("devices/system/cpu/cpu%d/topology/physical_package_id", cpu))
				if err != nil || id > math.MaxInt16 {
					continue // the CPU is offline
				}
				zone.Socket = int(id) // #nosec G115 -- checked above
			}
			if covered(zone.spot()) || p.filter.ignores(zone.Name) {
				continue
			}
			c := p.countOf(zone, cpu)
			if c == nil || c.event != nil {
				continue
			}
			c.scale = scale
			if c.event, err = p.open(uint32(pmu), config, cpu); err != nil { // #nosec G115 -- parsed as 32 bits
				c.event, c.reason = nil, explainPerf(z.event, err)
				missing = append(missing, "energy: "+c.reason)
				return missing // the next would fail alike
			}
			c.gone, c.reason = c.known, ""
			if z.zone == Psys {
				break // one for all
			}
		}
	}
	return missing
}

func (p *perf) countOf(z Zone, cpu int) *count {
	i := slices.IndexFunc(p.known, func(c *count) bool { return c.zone == z && c.cpu == cpu })
	if i < 0 {
		if len(p.known) >= maxZones {
			return nil
		}
		limit := defaultLimit
		if z.Socket == AllSockets {
			limit = platformLimit
		}
		p.known = append(p.known, &count{zone: z, cpu: cpu, counter: counter{limit: limit, ceiling: limit}})
		i = len(p.known) - 1
	}
	return p.known[i]
}

func explainPerf(event string, err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Sprintf("perf's event %s may not be opened: run as root, or grant CAP_PERFMON", event)
	}
	return fmt.Sprintf("perf's event %s cannot be opened: %v", event, err)
}

// read takes a look at every event whose zone has no better source.
func (p *perf) read(at, suspended time.Duration, better map[spot]Source) []Reading {
	if at-p.scanned >= rescan || at < p.scanned {
		p.scan(func(s spot) bool { _, ok := better[s]; return ok })
		p.scanned = at
	}
	var out []Reading
	for _, c := range p.known {
		if source, ok := better[c.zone.spot()]; ok && c.superseded == "" {
			c.superseded = source
			c.shut()
		}
		if c.superseded == "" {
			c.look(at, suspended)
		}
		if c.known {
			out = p.add(out, c, at)
		}
	}
	return out
}

func (c *count) look(at, suspended time.Duration) {
	if c.event == nil {
		c.refuse(c.reason)
		return
	}
	n, err := c.event.Count()
	if err != nil {
		c.shut()
		c.reason = fmt.Sprintf("perf's event on CPU %d cannot be read: %v", c.cpu, err)
		c.refuse(c.reason)
		return
	}
	c.take(c.scale.of(n), at, suspended)
}

func (c *count) shut() {
	if c.event != nil {
		_ = c.event.Close()
	}
	c.event = nil
}

// add joins the dies of a package.
func (p *perf) add(out []Reading, c *count, at time.Duration) []Reading {
	d := domain{zone: c.zone, counter: c.counter}
	d.span = math.MaxUint64 // it does not wrap
	r := Reading{Zone: c.zone, Total: c.total, State: c.state, Age: c.age(at), Note: standing(&d),
		Wraps: c.wraps, Resets: c.resets, Faults: c.faults, Error: d.uncertainty(p.amd)}
	if c.warning != "" {
		r.Note = c.warning
	}
	if c.superseded != "" {
		r.State, r.Note = Stale, "superseded by "+string(c.superseded)
	}
	for i := range out {
		if out[i].Zone == r.Zone {
			out[i] = sum(out[i], r)
			return out
		}
	}
	return append(out, r)
}

// sum is the reading of a zone of two counters.
func sum(a, b Reading) Reading {
	a.Total += b.Total
	a.State = together(a.State, b.State)
	a.Age = min(a.Age, b.Age) // the sum moves when any does
	a.Wraps += b.Wraps
	a.Resets += b.Resets
	a.Faults += b.Faults
	a.Error = math.Max(a.Error, b.Error)
	if b.State != Fresh {
		a.Note = b.Note
	}
	return a
}

func (p *perf) close() {
	for _, c := range p.known {
		c.shut()
	}
}
