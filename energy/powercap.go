package energy

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Names of zones.
const (
	Package = "package"
	Core    = "core"
	Uncore  = "uncore"
	DRAM    = "dram"
	Psys    = "psys"
)

var zoneNames = []string{Package, Core, Uncore, DRAM, Psys}

const (
	powercapDir = "class/powercap"
	// rescan is how often to look for zones that came, went or moved.
	rescan = 10 * time.Second
	// defaultLimit bounds a zone whose constraints name no maximal power: four
	// times what the hungriest package draws.
	defaultLimit = Microwatts(2_000_000_000)
	// platformLimit is the same for psys, which spans packages.
	platformLimit = 4 * defaultLimit
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
	sysfs    string
	amd      bool // the processor is AMD's
	domains  []*domain
	scanned  time.Duration
	anyFault bool // look for moved zones at the next reading
}

// domain is one energy_uj file. It is known by the names of its zone and its
// parents, since numbers change when a module is loaded again.
type domain struct {
	id     string // "package-0/dram"
	zone   Zone
	dir    string // below the sysfs root; "" while it is gone
	reason string // why it cannot be read; "" if it can
	counter
}

// found is a zone directory seen by a scan.
type found struct {
	dir, id string
	zone    Zone
}

// scan looks for zones and says what could not be read.
func (p *powercap) scan() (missing []string) {
	root, err := os.OpenRoot(p.sysfs)
	if err != nil {
		p.lose("the sysfs root cannot be opened")
		return []string{fmt.Sprintf("energy: %v: mount sysfs there or correct the path", err)}
	}
	defer root.Close()
	list, err := zoneDirs(root)
	if err != nil {
		p.lose("the powercap tree is gone")
		return []string{fmt.Sprintf("energy: no powercap zones (%v): load the module intel_rapl_msr; in a virtual machine there is none, and a model or the simulator stands in", err)}
	}
	seen := map[*domain]bool{}
	for _, f := range list {
		if d := p.adopt(root, f); d != nil {
			seen[d] = true
			if d.reason != "" {
				missing = append(missing, "energy: "+d.reason)
			}
		}
	}
	for _, d := range p.domains {
		if !seen[d] && d.dir != "" {
			d.dir, d.gone = "", true
		}
	}
	if len(list) == 0 {
		missing = append(missing, "energy: the powercap tree has no RAPL zones: load the module intel_rapl_msr; in a virtual machine there is none, and a model or the simulator stands in")
	}
	return missing
}

// adopt makes f known, or finds what it is known as. It returns nil if a zone
// that was found earlier in this order is the same counter.
func (p *powercap) adopt(root *os.Root, f found) *domain {
	file := path.Join(f.dir, "energy_uj")
	_, source, err := readCounter(root, file)
	i := slices.IndexFunc(p.domains, func(d *domain) bool { return d.id == f.id && d.zone.Source == source })
	if err != nil && source == "" {
		// Not even opened; keep what was known of it.
		i = slices.IndexFunc(p.domains, func(d *domain) bool { return d.id == f.id })
		source = treeSource(root, f.dir)
	}
	if i < 0 {
		f.zone.Source = source
		p.domains = append(p.domains, &domain{id: f.id, zone: f.zone})
		i = len(p.domains) - 1
	}
	d := p.domains[i]
	d.reason = ""
	if err != nil {
		d.reason = explain(err, path.Join(p.sysfs, file))
	}
	if d.dir != f.dir {
		if d.dir != "" && d.known {
			d.gone = true // it moved: registered anew
		}
		d.dir = f.dir
	}
	d.learnRange(root)
	return d
}

// learnRange reads what bounds the counter. A value that was good stays when
// the file no longer is.
func (d *domain) learnRange(root *os.Root) {
	if v, _, err := readCounter(root, path.Join(d.dir, "max_energy_range_uj")); err == nil && v > 0 {
		d.span = v
	}
	rated := Microjoules(0) // µW here
	for _, n := range []string{"0", "1", "2"} {
		if v, _, err := readCounter(root, path.Join(d.dir, "constraint_"+n+"_max_power_uw")); err == nil {
			rated = max(rated, v)
		}
	}
	generous := defaultLimit
	if d.zone.Socket == AllSockets {
		generous = platformLimit
	}
	d.limit = generous
	if rated > 0 && Microwatts(rated) < generous {
		d.limit = min(max(peak*Microwatts(rated), leastLimit), generous)
	}
}

// lose marks every zone as gone.
func (p *powercap) lose(reason string) {
	for _, d := range p.domains {
		d.dir, d.gone, d.reason = "", true, reason
	}
}

// zoneDirs lists the zones of a tree: intel-rapl before others, and the MMIO
// interface, which shows the same counters again, last. Of several directories
// for one counter only the first is returned.
func zoneDirs(root *os.Root) ([]found, error) {
	entries, err := fs.ReadDir(root.FS(), powercapDir)
	if err != nil {
		return nil, err
	}
	names := map[string]string{} // directory → content of name
	var dirs []string
	for _, e := range entries {
		dir := e.Name()
		if !strings.Contains(dir, ":") {
			continue // a control type
		}
		text, err := readShort(root, path.Join(powercapDir, dir, "name"))
		if err != nil {
			continue // going away; the next scan tells
		}
		names[dir] = strings.TrimSpace(text)
		dirs = append(dirs, dir)
	}
	slices.SortFunc(dirs, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(strings.Count(a, ":"), strings.Count(b, ":")), cmp.Compare(a, b))
	})
	var list []found
	for _, dir := range dirs {
		f, ok := identify(dir, names)
		same := func(other found) bool { return other.id == f.id }
		if ok && !slices.ContainsFunc(list, same) {
			list = append(list, f)
		}
	}
	return list, nil
}

func rank(dir string) int {
	controlType, _, _ := strings.Cut(dir, ":")
	switch {
	case controlType == "intel-rapl":
		return 0
	case strings.HasSuffix(controlType, "-mmio"):
		return 2
	}
	return 1
}

// identify derives a zone from its name and its parent's: package-N,
// package-N-die-M (a part of package N), psys and psys-N (registered for the
// one package that can read it, and about the whole platform), and core,
// uncore and dram below a package.
func identify(dir string, names map[string]string) (found, bool) {
	name := names[dir]
	f := found{dir: path.Join(powercapDir, dir), id: name}
	if rest, ok := strings.CutPrefix(name, "package-"); ok {
		socket, ok := socketOf(rest)
		f.zone = Zone{Name: Package, Socket: socket}
		return f, ok
	}
	if name == Psys || strings.HasPrefix(name, "psys-") {
		f.zone = Zone{Name: Psys, Socket: AllSockets}
		return f, true
	}
	if !slices.Contains(zoneNames, name) {
		return f, false
	}
	above := names[dir[:strings.LastIndex(dir, ":")]]
	rest, ok := strings.CutPrefix(above, "package-")
	if !ok {
		return f, false
	}
	socket, ok := socketOf(rest)
	f.id = above + "/" + name
	f.zone = Zone{Name: name, Socket: socket}
	return f, ok
}

// socketOf reads N of "N" or "N-die-M".
func socketOf(s string) (int, bool) {
	number, _, _ := strings.Cut(s, "-die-")
	n, err := parseCounter([]byte(number))
	if err != nil || n > math.MaxInt16 {
		return 0, false
	}
	return int(n), true // #nosec G115 -- checked above
}

// read takes a look at every zone.
func (p *powercap) read(at, suspended time.Duration) []Reading {
	if p.anyFault || at-p.scanned >= rescan || at < p.scanned {
		p.scan()
		p.scanned, p.anyFault = at, false
	}
	root, err := os.OpenRoot(p.sysfs)
	if err == nil {
		defer root.Close()
	}
	for _, d := range p.domains {
		p.look(root, d, at, suspended)
	}
	return p.readings(at)
}

func (p *powercap) look(root *os.Root, d *domain, at, suspended time.Duration) {
	if root == nil || d.dir == "" {
		p.anyFault = true
		d.gone = true
		d.refuse(cmp.Or(d.reason, "the zone is gone"))
		return
	}
	file := path.Join(d.dir, "energy_uj")
	value, source, err := readCounter(root, file)
	switch {
	case err != nil:
		p.anyFault = p.anyFault || errors.Is(err, fs.ErrNotExist)
		d.reason = explain(err, path.Join(p.sysfs, file))
		d.refuse(d.reason)
	case source != d.zone.Source:
		p.anyFault = true
		d.refuse("the tree behind the zone was exchanged")
	default:
		d.reason = ""
		d.take(value, at, suspended)
	}
}

// explain puts a failure to read into words, with the remedy.
func explain(err error, file string) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s may be read by root only (CVE-2020-8694): run as root, or grant CAP_DAC_READ_SEARCH", file)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s is gone: load the module intel_rapl_msr again", file)
	}
	return fmt.Sprintf("%s: %v", file, err)
}
