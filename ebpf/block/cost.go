package block

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Cost is what a program takes per request. Both include what the kernel's own
// measuring costs (BPF_STATS_RUN_TIME).
type Cost struct {
	Empty    time.Duration // a program that does nothing
	Counting time.Duration // this package's
}

// Above is what counting costs above an empty program.
func (c Cost) Above() time.Duration { return c.Counting - c.Empty }

// MeasureCost reads 4 KiB a request, past the page cache, from a file that it
// makes in dir, under each program by turns. The cheapest round of each counts,
// since whatever else the machine does only adds. It needs what Open needs, and
// a dir on a disk.
func MeasureCost(dir string, rounds, requests int) (c Cost, err error) {
	if rounds < 1 || requests < 1 {
		return c, fmt.Errorf("block: cannot measure %d rounds of %d requests", rounds, requests)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("block: measure the cost: %w", err)
		}
	}()
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	l, err := newReads(dir)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return c, c.measure(l, rounds, requests)
}

func (c *Cost) measure(l *reads, rounds, requests int) (err error) {
	var nothing emptyObjects
	if err := loadEmptyObjects(&nothing, nil); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nothing.Close()) }()
	s, err := load(Config{}, ownersHere())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for range rounds {
		for _, m := range []struct {
			prog *ebpf.Program
			into *time.Duration
		}{{nothing.Empty, &c.Empty}, {s.objs.BlockRqComplete, &c.Counting}} {
			took, err := l.round(m.prog, requests)
			if err != nil {
				return err
			}
			if *m.into == 0 || took < *m.into {
				*m.into = took
			}
		}
	}
	return nil
}

// reads is a file to read from a disk, with a buffer that lies as the disk
// wants it.
type reads struct {
	file *os.File
	buf  []byte
}

const (
	readSize = 4096
	fileSize = 1 << 20
)

func newReads(dir string) (_ *reads, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name := fmt.Sprintf(".cam-cost-%d", os.Getpid())
	if err := root.WriteFile(name, make([]byte, fileSize), 0o600); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Remove(name)) }()
	f, err := root.OpenFile(name, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s past the page cache: %w", filepath.Join(dir, name), err)
	}
	buf := make([]byte, 2*readSize)
	at := -int(uintptr(unsafe.Pointer(&buf[0]))) & (readSize - 1) // #nosec G103 G115 -- only its alignment
	return &reads{f, buf[at : at+readSize]}, f.Sync()
}

// Close implements io.Closer.
func (l *reads) Close() error { return l.file.Close() }

// round says what the program takes per request while the file is read.
func (l *reads) round(p *ebpf.Program, requests int) (each time.Duration, err error) {
	at, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, at.Close()) }()
	before, err := p.Stats()
	if err != nil {
		return 0, err
	}
	for i := range requests {
		if _, err := l.file.ReadAt(l.buf, int64(i*readSize%fileSize)); err != nil {
			return 0, err
		}
	}
	after, err := p.Stats()
	if err != nil {
		return 0, err
	}
	runs := after.RunCount - before.RunCount
	if runs == 0 {
		return 0, fmt.Errorf("%s completed no request; name a directory on a disk", l.file.Name())
	}
	return (after.Runtime - before.Runtime) / time.Duration(runs), nil // #nosec G115 -- far below 2^63 runs
}
