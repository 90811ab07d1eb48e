package sensor

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// files is the sensor that reads cpu.stat and io.stat of every cgroup.
type files struct {
	tree   *cgroup.Hierarchy
	topo   Topology
	cpus   *cpuTimes
	sums   tree
	usage  map[cgroup.ID]Usage
	at     time.Duration
	io     bool // an io.stat was there when the sensor opened
	missed []string
}

func openFiles(c Config) (*files, error) {
	h, err := cgroup.Open(c.Cgroup)
	if err != nil {
		return nil, err
	}
	f := &files{tree: h, topo: readTopology(c.Sysfs, possibleCPUs()), usage: make(map[cgroup.ID]Usage)}
	if f.cpus, err = newCPUTimes(hostContext(c.Procfs), f.topo); err != nil {
		return nil, err
	}
	if _, f.io, err = f.read(); err != nil {
		return nil, err
	}
	f.missed = []string{
		"context switches: cgroup files do not have them; they come with the eBPF sensor",
		"removed cgroups: the time of their last interval is charged to their parents; the eBPF sensor has it",
	}
	if len(f.topo.Packages) > 1 {
		f.missed = append(f.missed, "time by package: the split of a cgroup's time is estimated from how busy each was; the eBPF sensor has it")
	}
	if !f.io {
		f.missed = append(f.missed, "I/O bytes: no cgroup has an io.stat; enable the controller (echo +io > cgroup.subtree_control) and restart the node, or run the eBPF sensor")
	}
	if _, err := f.Snapshot(); err != nil {
		return nil, err
	}
	return f, nil
}

// read walks the tree, parents first. io says whether any io.stat was there.
func (f *files) read() (nodes []node, io bool, err error) {
	root, err := f.tree.ID("/")
	if err != nil {
		return nil, false, err
	}
	nodes = append(nodes, node{ID: root})
	for _, d := range f.cpus.busy {
		nodes[0].Used.CPU += d
	}
	nodes[0].Used.IO, _ = ioStat(f.tree.Root())
	var walk func(string, cgroup.ID)
	walk = func(p string, parent cgroup.ID) {
		children, err := f.tree.Children(p)
		if err != nil {
			return // it vanished, or is not ours to see: its parent has its time
		}
		for _, c := range children {
			id, err := f.tree.ID(c)
			dir, _ := f.tree.Dir(c)
			if err != nil {
				continue
			}
			n := node{ID: id, Parent: parent}
			var ok bool
			if n.Used.CPU, ok = cpuStat(dir); !ok {
				continue
			}
			var has bool
			n.Used.IO, has = ioStat(dir)
			io = io || has
			nodes = append(nodes, n)
			walk(c, id)
		}
	}
	walk("/", root)
	return nodes, io, nil
}

// Snapshot implements Sensor.
func (f *files) Snapshot() (*Snapshot, error) {
	at, err := bootTime()
	if err != nil {
		return nil, err
	}
	had := append([]time.Duration(nil), f.cpus.busy...)
	if err := f.cpus.read(); err != nil {
		return nil, err
	}
	nodes, _, err := f.read()
	if err != nil {
		return nil, err
	}
	// A tick more, since the counters are not all read at one moment.
	most := (at - f.at + time.Second) * time.Duration(len(f.topo.PackageOf))
	f.at = at
	f.sums.update(nodes, most)

	s := &Snapshot{
		At:       at,
		Cgroups:  make(map[cgroup.ID]Usage),
		Parents:  make(map[cgroup.ID]cgroup.ID),
		Idle:     append([]time.Duration(nil), f.cpus.idle...),
		Overflow: Usage{OnCPU: make([]time.Duration, len(f.topo.Packages))},
	}
	shares := make([]time.Duration, len(had))
	for p := range shares {
		shares[p] = f.cpus.busy[p] - had[p]
	}
	for id, b := range f.sums.cgroups {
		if !f.sums.listed(b) {
			continue
		}
		if b.parent != 0 {
			s.Parents[id] = b.parent
		}
		u, ok := f.usage[id]
		if !ok {
			u.OnCPU = make([]time.Duration, len(shares))
		}
		var was time.Duration
		for _, d := range u.OnCPU {
			was += d
		}
		next := Usage{OnCPU: split(b.self.CPU-was, shares), Read: b.self.IO.Read, Written: b.self.IO.Written}
		for p := range next.OnCPU {
			next.OnCPU[p] += u.OnCPU[p]
		}
		f.usage[id] = next
		if b.self != (amounts{}) {
			s.Cgroups[id] = Usage{OnCPU: append([]time.Duration(nil), next.OnCPU...), Read: next.Read, Written: next.Written}
		}
	}
	for id := range f.usage {
		if f.sums.cgroups[id] == nil {
			delete(f.usage, id)
		}
	}
	return s, nil
}

// cpuStat reads usage_usec (Documentation/admin-guide/cgroup-v2.rst).
func cpuStat(dir string) (time.Duration, bool) {
	b, err := os.ReadFile(filepath.Join(dir, "cpu.stat")) // #nosec G304 -- below the cgroup root
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte("usage_usec ")); ok {
			n, err := strconv.ParseUint(string(bytes.TrimSpace(v)), 10, 64)
			if err != nil || n > math.MaxInt64/1000 {
				return 0, false
			}
			return time.Duration(n) * time.Microsecond, true // #nosec G115 -- bounded above
		}
	}
	return 0, false
}

// ioStat sums rbytes and wbytes over all devices.
func ioStat(dir string) (sum ioBytes, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, "io.stat")) // #nosec G304 -- below the cgroup root
	if err != nil {
		return ioBytes{}, false
	}
	for _, f := range bytes.Fields(b) {
		key, value, _ := bytes.Cut(f, []byte("="))
		n, err := strconv.ParseUint(string(value), 10, 64)
		if err != nil {
			continue
		}
		switch string(key) {
		case "rbytes":
			sum.Read += n
		case "wbytes":
			sum.Written += n
		}
	}
	return sum, true
}

// possibleCPUs counts the CPUs that can ever be online.
func possibleCPUs() int {
	if n, err := ebpf.PossibleCPU(); err == nil {
		return n
	}
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) == nil && set.Count() > 0 {
		return set.Count()
	}
	return 1
}

// Source implements Sensor.
func (f *files) Source() Source { return Cgroup }

// Topology implements Sensor.
func (f *files) Topology() Topology { return f.topo.clone() }

// Measures implements Sensor.
func (f *files) Measures() Measures { return Measures{Agents: true, IO: f.io} }

// Missing implements Sensor.
func (f *files) Missing() []string { return f.missed }

// Close implements Sensor.
func (f *files) Close() error { return nil }
