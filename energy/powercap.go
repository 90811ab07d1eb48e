package energy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

const (
	powercapDir = "class/powercap"
	// rescan is how often to look for zones that came, went or moved.
	rescan = 10 * time.Second
	// defaultLimit bounds a zone whose constraints name no maximal power: four
	// times what the hungriest package draws.
	defaultLimit = Microwatts(2_000_000_000)
	// platformLimit is the same for psys, which spans packages.
	platformLimit = 4 * defaultLimit
	// deviceLimit is that of all that a device draws: a server with eight GPUs
	// is given 16 kW.
	deviceLimit = 16 * defaultLimit
	// leastLimit: constraint_N_max_power_uw is often the rated power, which
	// short peaks exceed several times; below this a bound protects nothing.
	leastLimit = Microwatts(200_000_000)
	// peak is the factor between rated and peak power.
	peak = 4
)

// powercap reads the zones of the kernel's powercap tree
// (Documentation/power/powercap/powercap.rst; drivers/powercap/
// intel_rapl_common.c gives the names), which AMD processors fill too, or of a
// directory tree of the same shape.
type powercap struct {
	sysfs   string
	amd     bool // the processor is AMD's
	virtual bool // it is a guest's
	filter  filter
	absent  string // why there are no zones; "" if there are
	domains []*domain
	scanned time.Duration
	listing string // the directories of the last scan
	lost    bool   // a zone is lost: see whether the directories changed
	lostNow bool   // it was not lost before: scan
}

// domain is one energy_uj file. It is known by the names of its zone and its
// parents, since numbers change when a module is loaded again.
type domain struct {
	id     string // "package-0/dram"
	zone   Zone
	dir    string   // below the sysfs root
	root   *os.Root // the same; nil while it is gone. Renewed by each scan.
	reason string   // why it cannot be read; "" if it can
	counter
}

// scan looks for zones and says what could not be read; absent is set if there
// are none.
func (p *powercap) scan() (missing []string) {
	p.absent = ""
	root, err := openTree(p.sysfs)
	if err != nil {
		p.lose("the sysfs root cannot be opened")
		return []string{fmt.Sprintf("energy: %v: mount sysfs there or correct the path", err)}
	}
	defer root.Close()
	list, listing, beyond, err := zoneDirs(root)
	p.listing = listing
	if err != nil {
		p.lose("the powercap tree is gone")
		p.absent = err.Error()
		return nil
	}
	empty := len(list) == 0
	list = slices.DeleteFunc(list, func(f found) bool { return p.filter.ignores(f.zone.Name) })
	seen := map[*domain]bool{}
	for _, f := range list {
		d := p.adopt(root, f)
		if d == nil {
			beyond = append(beyond, path.Base(f.dir))
			continue
		}
		seen[d] = true
		if d.reason != "" {
			missing = append(missing, "energy: "+d.reason)
		}
	}
	for _, d := range p.domains {
		if !seen[d] {
			d.leave("the zone is gone")
		}
	}
	if len(beyond) > 0 {
		missing = append(missing, tooMany(beyond))
	}
	if empty {
		p.absent = path.Join(p.sysfs, powercapDir) + " is empty"
	}
	return missing
}

// tooMany names the zones that are not read.
func tooMany(dirs []string) string {
	names := strings.Join(dirs[:min(len(dirs), 3)], ", ")
	if len(dirs) > 3 {
		names += ", …"
	}
	return fmt.Sprintf("energy: %d powercap zones beyond the first %d are not read (%s): no machine has so many, so correct the path of sysfs, or remove what made them", len(dirs), maxZones, names)
}

// covers reports whether the zone of a spot can be read.
func (p *powercap) covers(s spot) bool {
	return slices.ContainsFunc(p.domains, func(d *domain) bool { return d.zone.spot() == s && d.reason == "" })
}

// noZones says what to do where there is no counter of a package.
func (p *powercap) noZones(why string) string {
	if p.virtual {
		return fmt.Sprintf("energy: this virtual machine has no power meter (%s), so a model estimates: give it idle and max watts, or try the simulator", why)
	}
	return fmt.Sprintf("energy: no powercap zones (%s), so a model estimates: load the module intel_rapl_msr, or give the model idle and max watts", why)
}

// adopt makes f known, or finds what it is known as; nil if too many are known.
func (p *powercap) adopt(root *os.Root, f found) *domain {
	file := path.Join(f.dir, "energy_uj")
	value, source, err := readCounter(root, file)
	i := slices.IndexFunc(p.domains, func(d *domain) bool { return d.id == f.id && d.zone.Source == source })
	if err != nil && source == "" {
		// Not even opened; keep what was known of it.
		i = slices.IndexFunc(p.domains, func(d *domain) bool { return d.id == f.id })
		source = treeSource(root, f.dir)
	}
	if i < 0 && len(p.domains) >= maxZones {
		return nil
	}
	if i < 0 {
		f.zone.Source = source
		p.domains = append(p.domains, &domain{id: f.id, zone: f.zone})
		i = len(p.domains) - 1
	}
	d := p.domains[i]
	d.enter(root, f.dir)
	if err != nil {
		d.reason = explain(err, path.Join(p.sysfs, file))
	} else if !d.known && d.reason == "" && d.beyond(value) {
		d.reason = fmt.Sprintf("%s shows %d µJ, beyond its max_energy_range_uj of %d, so the zone is not counted until it shows less: if it stays, load the module intel_rapl_msr again, or correct the tree", path.Join(p.sysfs, file), value, d.span)
	}
	return d
}

// enter binds the domain to a directory. If it is another one than before, the
// zone was registered anew.
func (d *domain) enter(root *os.Root, dir string) {
	zone, err := openSubtree(root, dir)
	if err != nil {
		d.leave(err.Error())
		return
	}
	if d.root != nil {
		before, _ := d.root.Stat(".")
		after, _ := zone.Stat(".")
		d.gone = d.gone || !os.SameFile(before, after)
		_ = d.root.Close()
	}
	d.root, d.dir, d.reason = zone, dir, ""
	d.learnRange()
}

// leave marks the zone as gone.
func (d *domain) leave(reason string) {
	if d.root != nil {
		_ = d.root.Close()
	}
	d.root, d.gone, d.reason = nil, true, reason
}

// learnRange reads what bounds the counter. A value that was good stays when
// the file no longer is.
func (d *domain) learnRange() {
	if v, _, err := readCounter(d.root, "max_energy_range_uj"); err == nil && v > 0 {
		d.span = v
	}
	rated := Microjoules(0) // µW here
	for _, n := range []string{"0", "1", "2"} {
		if v, _, err := readCounter(d.root, "constraint_"+n+"_max_power_uw"); err == nil {
			rated = max(rated, v)
		}
	}
	discredited := d.ceiling > 0 && d.limit == d.ceiling
	d.ceiling = defaultLimit
	if d.zone.Socket == AllSockets {
		d.ceiling = platformLimit
	}
	d.limit = d.ceiling
	if rated > 0 && Microwatts(rated) < d.ceiling && !discredited {
		d.limit = min(max(peak*Microwatts(rated), leastLimit), d.ceiling)
	}
}

// lose marks every zone as gone.
func (p *powercap) lose(reason string) {
	for _, d := range p.domains {
		d.leave(reason)
	}
}

// read takes a look at every zone.
func (p *powercap) read(at, suspended time.Duration) []Reading {
	if p.lostNow || at-p.scanned >= rescan || at < p.scanned || p.lost && p.changed() {
		p.scan()
		p.scanned = at
	}
	p.lost, p.lostNow = false, false
	for _, d := range p.domains {
		p.look(d, at, suspended)
	}
	return p.readings(at)
}

// changed reports whether zones came or went since the last scan; cheaper than
// a scan.
func (p *powercap) changed() bool {
	root, err := openTree(p.sysfs)
	if err != nil {
		return p.listing != ""
	}
	defer root.Close()
	names, _, err := listZones(root)
	return err != nil && p.listing != "" || strings.Join(names, " ") != p.listing
}

func (p *powercap) look(d *domain, at, suspended time.Duration) {
	if d.root == nil {
		p.lost = true
		d.refuse(d.reason)
		return
	}
	value, source, err := readCounter(d.root, "energy_uj")
	if err == nil && source != d.zone.Source {
		err = fs.ErrNotExist // the tree behind the zone was exchanged
	}
	if err != nil {
		p.lost, p.lostNow = true, p.lostNow || d.reason == ""
		d.reason = explain(err, path.Join(p.sysfs, d.dir, "energy_uj"))
		d.refuse(d.reason)
		return
	}
	d.reason = ""
	d.take(value, at, suspended)
}

// close lets go of the tree.
func (p *powercap) close() { p.lose("the meter is closed") }

// explain puts a failure to read into words, with the remedy.
func explain(err error, file string) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s may be read by root only (CVE-2020-8694): run as root, or grant CAP_DAC_READ_SEARCH", file)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s is gone; if the module intel_rapl_msr was unloaded, load it again", file)
	}
	return fmt.Sprintf("%s: %v", file, err)
}
