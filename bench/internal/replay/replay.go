package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/bench/internal/rig"
	"github.com/cam-os/edge/store"
)

// content is what a node stored: its ledger, and what each account used in a
// minute.
type content struct {
	Ledger store.Ledger
	Minute []store.Value
}

// contentOf reads the state directory of a node that has stopped. It keeps
// only so many of the agents.
func contentOf(dir string, agents int, names func(agent string) bool) (_ content, err error) {
	s, err := store.Open(store.Config{Dir: dir})
	if err != nil {
		return content{}, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ledger, err := s.Ledger()
	if err != nil {
		return content{}, err
	}
	points, _, err := s.Series(time.Now().Add(-time.Hour), time.Now().Add(time.Minute), time.Minute, nil)
	if err != nil {
		return content{}, err
	}
	var fullest store.Point
	for _, p := range points {
		if len(p.Values) > len(fullest.Values) || len(p.Values) == len(fullest.Values) && p.Covered > fullest.Covered {
			fullest = p
		}
	}
	keep, c := map[string]bool{}, content{Ledger: ledger}
	c.Ledger.Accounts = nil
	for _, a := range ledger.Accounts {
		if names(a.Name) {
			if agents == 0 {
				continue
			}
			agents--
		}
		keep[a.Name] = true
		c.Ledger.Accounts = append(c.Ledger.Accounts, a)
	}
	if agents > 0 {
		return c, fmt.Errorf("the ledger lacks %d agents", agents)
	}
	for _, v := range fullest.Values {
		if keep[v.Account] {
			c.Minute = append(c.Minute, v)
		}
	}
	if len(c.Minute) == 0 {
		return c, errors.New("no minute was stored")
	}
	return c, nil
}

// cost is what a commit sends, in bytes, as a mean over many.
type cost struct {
	Commits int   `json:"commits"`
	Device  int64 `json:"device_bytes"` // by the device's statistics
	// Process is by write_bytes of /proc/self/io, which counts folios when they
	// are made dirty: since Linux 6.16 ext4 has large ones, and a page of 4 KB
	// counts as up to 128 KB though only its blocks are written.
	Process int64 `json:"process_bytes"`
	Zones   int   `json:"zones"`
}

// measure replays content at the store's defaults, a commit a minute, on a
// device below dir: before minutes without counting, then commits with. It
// must run in a mount name space of its own.
func measure(c content, dir string, before, commits int) (_ cost, err error) {
	mount := filepath.Join(dir, "mount")
	if err := newDevice(filepath.Join(dir, "image"), mount); err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, run("umount", mount)) }()
	device, err := rig.DeviceOf(mount)
	if err != nil {
		return cost{}, err
	}
	s, err := store.Open(store.Config{Dir: filepath.Join(mount, "state"), LiveDir: dir, CommitEvery: 30 * 24 * time.Hour})
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	r := replay{content: c, store: s, rand: rand.New(rand.NewPCG(1, 2))} // #nosec G404 -- the same each time
	const together = 60
	for i := range before {
		if err := r.minute(); err != nil {
			return cost{}, err
		}
		if i%together == together-1 {
			if err := s.Commit(); err != nil {
				return cost{}, err
			}
		}
	}
	written := func() (onDevice, byProcess int64, err error) {
		if err := flush(mount); err != nil {
			return 0, 0, err
		}
		onDevice, err = device.Written()
		if err != nil {
			return 0, 0, err
		}
		byProcess, err = rig.Written(os.Getpid())
		return onDevice, byProcess, err
	}
	if err := s.Commit(); err != nil {
		return cost{}, err
	}
	device0, process0, err := written()
	if err != nil {
		return cost{}, err
	}
	for range commits {
		if err := errors.Join(r.minute(), s.Commit(), flush(mount)); err != nil { // within a minute the file system flushes, too
			return cost{}, err
		}
	}
	device1, process1, err := written()
	n := int64(commits)
	return cost{commits, (device1 - device0) / n, (process1 - process0) / n, len(c.Ledger.Zones)}, err
}

// replay makes minutes that are like the one that was stored.
type replay struct {
	content content
	store   *store.Store
	rand    *rand.Rand
	n       int
}

func (r *replay) minute() error {
	at := time.Duration(r.n) * time.Minute
	r.n++
	p := store.Point{
		Start: time.Now().Add(at), Boottime: rig.Boottime() + at, Covered: time.Minute,
		Values: make([]store.Value, 0, len(r.content.Minute)),
	}
	used := map[string]store.Usage{}
	for _, v := range r.content.Minute {
		v.Usage = r.vary(v.Usage)
		used[v.Account] = v.Usage
		p.Values = append(p.Values, v)
	}
	l := &r.content.Ledger
	l.Sequence += 60
	for i, a := range l.Accounts {
		l.Accounts[i].Total = sum(a.Total, used[a.Name])
	}
	for i, z := range l.Zones {
		for _, u := range used {
			l.Zones[i].Metered += u.Energy[z.Zone]
		}
	}
	return r.store.Append(p, *l)
}

// vary changes each figure by up to a fifth: no two minutes are alike.
func (r *replay) vary(u store.Usage) store.Usage {
	v := func(n uint64) uint64 { return uint64(float64(n) * (0.8 + 0.4*r.rand.Float64())) }
	u.CPU = time.Duration(v(uint64(u.CPU))) // #nosec G115 -- a minute's
	u.Switches, u.Read, u.Written = v(u.Switches), v(u.Read), v(u.Written)
	u.Energy = maps.Clone(u.Energy)
	for z, e := range u.Energy {
		u.Energy[z] = v(e)
	}
	return u
}

func sum(a, b store.Usage) store.Usage {
	a.CPU, a.Switches, a.Read, a.Written = a.CPU+b.CPU, a.Switches+b.Switches, a.Read+b.Read, a.Written+b.Written
	energy := maps.Clone(a.Energy)
	for z, e := range b.Energy {
		if energy == nil {
			energy = map[store.Zone]uint64{}
		}
		energy[z] += e
	}
	a.Energy = energy
	return a
}

// newDevice makes a file system on a loop device and mounts it.
func newDevice(image, mount string) error {
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 G703 -- a directory of our own
	if err != nil {
		return err
	}
	const size = 256 << 20
	return errors.Join(f.Truncate(size), f.Close(), os.Mkdir(mount, 0o700), // #nosec G703 -- as above
		// As on a large device, where mkfs.ext4 chooses blocks of 4 KB: a journal's
		// entries are whole blocks. Without lazy initialisation, whose writes
		// would be counted.
		run("mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-E", "lazy_itable_init=0,lazy_journal_init=0", image),
		run("mount", "-o", "loop", image, mount))
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil { // #nosec G204 G702 -- constants and directories of our own
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

func flush(dir string) error {
	d, err := os.Open(dir) // #nosec G304 G703 -- as above
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}
