package energy

import (
	"cmp"
	"errors"
	"io"
	"math"
	"os"
	"path"
	"slices"
	"strings"
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

// found is a zone directory seen by a scan.
type found struct {
	dir, id string
	zone    Zone
}

// maxZones is how many zones are read. Eight sockets of two dies have some 64;
// only a tree that is no machine's has more, and it must not stop the node.
const maxZones = 256

// maxNames is how many entries of the directory are looked at.
const maxNames = 1 << 16

// listZones names the directories of zones: intel-rapl before others, and the
// MMIO interface, which shows the same counters again, last; parents before
// their children. Control types, which hold no colon, are left out. beyond are
// those above maxZones.
func listZones(root *os.Root) (dirs, beyond []string, err error) {
	dir, err := openDir(root, powercapDir)
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxNames)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	names = slices.DeleteFunc(names, func(s string) bool { return !strings.Contains(s, ":") })
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(strings.Count(a, ":"), strings.Count(b, ":")), cmp.Compare(a, b))
	})
	n := min(len(names), maxZones)
	return names[:n], names[n:], err
}

// zoneDirs finds the zones of a tree, in the order of listZones. Of several
// directories for one counter only the first is returned. listing holds the
// directories that could be looked at.
func zoneDirs(root *os.Root) (list []found, listing string, beyond []string, err error) {
	dirs, beyond, err := listZones(root)
	if err != nil {
		return nil, "", nil, err
	}
	names := map[string]string{} // directory → content of name
	for _, dir := range dirs {
		if text, err := readShort(root, path.Join(powercapDir, dir, "name")); err == nil {
			names[dir] = strings.TrimSpace(text)
		} // else it is coming or going
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { _, ok := names[dir]; return !ok })
	listing = strings.Join(dirs, " ")
	for _, dir := range dirs {
		f, ok := identify(dir, names)
		same := func(other found) bool { return other.id == f.id }
		if ok && !slices.ContainsFunc(list, same) {
			list = append(list, f)
		}
	}
	return list, listing, beyond, nil
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
