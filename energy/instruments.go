package energy

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// spot is a zone without its source: of several sources one counts.
type spot struct {
	name   string
	socket int
}

func (z Zone) spot() spot { return spot{z.Name, z.Socket} }

// instruments reads every counter and gauge of hwmon and power_supply.
type instruments struct {
	sysfs    string
	filter   filter
	patience time.Duration // see the constant
	// known holds all that was ever found; what is gone stays.
	known   []*instrument
	devices []*device
	scanned time.Duration
	lostNow bool // one is lost that was not before: scan
	told    bool // GPUs that nothing meters were named
}

// scan looks for devices and says what could not be read.
func (p *instruments) scan() (missing []string) {
	root, err := openTree(p.sysfs)
	if err != nil {
		p.lose("the sysfs root cannot be opened")
		return nil // powercap has said so
	}
	defer root.Close()
	var sites []site
	for _, find := range []func(*os.Root) ([]site, error){hwmonSites, supplySites} {
		found, err := find(root)
		if err != nil {
			missing = append(missing, fmt.Sprintf("energy: %v", err))
		}
		sites = append(sites, found...)
	}
	present := map[*device]bool{}
	beyond := 0
	for _, s := range sites {
		d := p.deviceOf(s.id)
		if present[d] {
			// Two of one name on one device: they cannot be told apart later.
			continue
		}
		present[d] = true
		if !d.settle() {
			continue // it is being read
		}
		fresh, err := d.enter(root, s.dir)
		if err != nil {
			continue // it is going
		}
		simulated := treeSource(root, s.dir) == Simulated
		for _, found := range s.sensors {
			i := p.adopt(d, s, found, simulated)
			if i == nil {
				beyond++
				continue
			}
			i.renew(found, fresh)
			if i.ever() || p.filter.ignores(i.zone.Name) || d.asleep() {
				continue
			}
			if _, _, err := i.read(d.root); err != nil {
				missing = append(missing, "energy: the zone "+i.zone.Name+" is not metered: "+i.explain(err))
			}
		}
	}
	for _, d := range p.devices {
		if !present[d] {
			d.leave("the device is gone")
		}
	}
	if beyond > 0 {
		missing = append(missing, fmt.Sprintf("energy: %d sensors beyond the first %d are not read: no machine has so many, so correct the path of sysfs", beyond, maxZones))
	}
	if !p.told {
		p.told = true
		missing = append(missing, unmeteredGPUs(root, sites)...)
	}
	return missing
}

func (p *instruments) deviceOf(id string) *device {
	i := slices.IndexFunc(p.devices, func(d *device) bool { return d.id == id })
	if i < 0 {
		p.devices = append(p.devices, &device{id: id})
		i = len(p.devices) - 1
	}
	return p.devices[i]
}

// adopt makes a sensor known, or finds what it is known as; nil if too many
// are known.
func (p *instruments) adopt(d *device, s site, found sensor, simulated bool) *instrument {
	if simulated {
		found.zone.Source = Simulated
	}
	id := path.Join(s.id, found.attribute)
	i := slices.IndexFunc(p.known, func(i *instrument) bool {
		return i.id == id && (i.zone.Source == Simulated) == simulated
	})
	if i >= 0 {
		return p.known[i]
	}
	if len(p.known) >= maxZones {
		return nil
	}
	if p.taken(found.zone) {
		found.zone.Name = qualified(found.zone.Name, s.base)
	}
	for n := 2; p.taken(found.zone); n++ {
		found.zone.Name = qualified(found.zone.Name, fmt.Sprint(n))
	}
	if p.filter.whole(found.zone.Name) {
		found.weighing, found.note = CPUTime, ""
	}
	in := &instrument{
		id: id, zone: found.zone, weighing: found.weighing, device: d,
		accuracy: found.accuracy, note: found.note, read: found.sample,
	}
	if found.counts {
		in.counter = &counter{}
	} else {
		in.gauge = &gauge{}
	}
	p.known = append(p.known, in)
	return in
}

// taken reports whether another instrument has that zone's name.
func (p *instruments) taken(z Zone) bool {
	return slices.ContainsFunc(p.known, func(i *instrument) bool { return i.zone.spot() == z.spot() })
}

// renew takes over what a scan found anew of a known instrument.
func (i *instrument) renew(found sensor, fresh bool) {
	i.read, i.reason = found.sample, ""
	ceiling := defaultLimit
	if i.zone.Socket == AllSockets && i.weighing != NoWeighing {
		ceiling = deviceLimit
	}
	limit := ceiling
	if found.rated > 0 && found.rated < ceiling {
		limit = min(max(peak*found.rated, leastLimit), ceiling)
	}
	if c := i.counter; c != nil {
		c.gone = c.gone || fresh
		if c.limit < c.ceiling || c.limit == 0 {
			c.limit = limit
		}
		c.ceiling = ceiling
		return
	}
	g := i.gauge
	if fresh {
		g.known, g.doubt = false, false
	}
	if g.limit < g.ceiling || g.limit == 0 {
		g.limit = limit
	}
	g.rated, g.ceiling = found.rated, ceiling
}

// lose marks every device as gone.
func (p *instruments) lose(reason string) {
	for _, d := range p.devices {
		d.leave(reason)
	}
}

// read takes a look at every instrument whose zone has no better source.
func (p *instruments) read(at, suspended time.Duration, better map[spot]Source) []Reading {
	if p.lostNow || at-p.scanned >= rescan || at < p.scanned {
		p.scan()
		p.scanned = at
	}
	p.lostNow = false
	for _, d := range p.devices {
		p.look(d, at, suspended, better)
	}
	var out []Reading
	for _, i := range p.known {
		if i.ever() && !p.filter.ignores(i.zone.Name) {
			out = append(out, i.reading(at))
		}
	}
	return out
}

// look takes readings of a device's instruments, those apart that are left out
// or superseded.
func (p *instruments) look(d *device, at, suspended time.Duration, better map[spot]Source) {
	var list []*instrument
	ever := true
	for _, i := range p.known {
		if i.device != d || p.filter.ignores(i.zone.Name) {
			continue
		}
		if source, ok := better[i.zone.spot()]; ok && i.superseded == "" {
			i.superseded = source
		}
		if i.superseded == "" {
			list = append(list, i)
			ever = ever && i.ever()
		}
	}
	switch {
	case len(list) == 0:
		return
	case d.root == nil:
		refuse(list, d.reason)
		return
	case d.answer == nil && d.asleep():
		for _, i := range list {
			i.pause("the device sleeps, and is not woken to be asked", at)
		}
		return
	case d.answer == nil && ever && d.seen && at >= d.looked && at-d.looked < d.every:
		return
	}
	if d.answer == nil {
		d.suspended = suspended
	}
	for _, s := range d.ask(list, at, p.patience) {
		before := s.of.reason
		s.of.take(s, d.looked, d.suspended)
		p.lostNow = p.lostNow || before == "" && s.of.reason != ""
	}
	if d.answer != nil && at-d.looked > overdue {
		refuse(list, "the device does not answer")
	}
}

func refuse(list []*instrument, why string) {
	for _, i := range list {
		i.refuse(why)
	}
}

func (p *instruments) close() { p.lose("the meter is closed") }

// pciDir holds the devices of the PCI bus.
const pciDir = "bus/pci/devices"

// unmeteredGPUs says of which NVIDIA GPUs nothing is known.
func unmeteredGPUs(root *os.Root, sites []site) (missing []string) {
	names, err := list(root, pciDir)
	if err != nil {
		return nil
	}
	for _, name := range names[:min(len(names), maxNames/16)] {
		vendor, _ := readWord(root, path.Join(pciDir, name, "vendor"))
		class, _ := readWord(root, path.Join(pciDir, name, "class"))
		metered := slices.ContainsFunc(sites, func(s site) bool { return s.base == name })
		if vendor != "0x10de" || !strings.HasPrefix(class, "0x03") || metered {
			continue
		}
		missing = append(missing, fmt.Sprintf("energy: the NVIDIA GPU at %s is not metered: its driver shows power only through NVML, a C library that this static binary cannot load. What it draws is in no zone but those of the whole device, if there are any; run NVIDIA's DCGM exporter beside the node to see it", name))
	}
	return missing
}
