// Package volatile is a disk with a write cache, for QEMU to use over NBD: a
// write is lost with the power unless a flush came after it. The disks of real
// devices are like that; a file of the host is not, since the host's page cache
// outlives QEMU.
package volatile

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// blockSize is what survives a cut whole or not at all.
const blockSize = 4096

// Disk is safe for concurrent use.
type Disk struct {
	mu      sync.Mutex
	durable []byte
	cache   map[int64][]byte
	flushes int
	latency time.Duration
	cuts    int
	begun   chan struct{}
}

// NewDisk takes over the contents, whose size is a multiple of 4096 bytes. A
// flush takes the latency given, and a cut within it finds nothing flushed.
func NewDisk(contents []byte, latency time.Duration) (*Disk, error) {
	if len(contents) == 0 || len(contents)%blockSize != 0 {
		return nil, errors.New("volatile: the size of a disk is a multiple of 4096 bytes")
	}
	return &Disk{durable: contents, latency: latency, cache: make(map[int64][]byte), begun: make(chan struct{})}, nil
}

// Size in bytes.
func (d *Disk) Size() int64 { return int64(len(d.durable)) }

var errRange = errors.New("volatile: beyond the end of the disk")

// ReadAt reads what was written last, flushed or not.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.each(p, off, func(part []byte, block, at int64) {
		if c, ok := d.cache[block]; ok {
			copy(part, c[at:])
			return
		}
		copy(part, d.durable[block*blockSize+at:])
	})
}

// WriteAt writes into the cache.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.each(p, off, func(part []byte, block, at int64) {
		c, ok := d.cache[block]
		if !ok {
			c = slices.Clone(d.durable[block*blockSize : (block+1)*blockSize])
			d.cache[block] = c
		}
		copy(c[at:], part)
	})
}

// each calls f for each part of p that lies within one block.
func (d *Disk) each(p []byte, off int64, f func(part []byte, block, at int64)) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(d.durable)) {
		return 0, errRange
	}
	n := len(p)
	for len(p) > 0 {
		at := off % blockSize
		part := p[:min(int64(len(p)), blockSize-at)]
		f(part, off/blockSize, at)
		p, off = p[len(part):], off+int64(len(part))
	}
	return n, nil
}

// Flush makes all that was written survive.
func (d *Disk) Flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	cuts := d.cuts
	close(d.begun)
	d.begun = make(chan struct{})
	d.mu.Unlock()
	time.Sleep(d.latency)
	d.mu.Lock()
	if d.cuts != cuts {
		return
	}
	for block, c := range d.cache {
		copy(d.durable[block*blockSize:], c)
	}
	clear(d.cache)
	d.flushes++
}

// NextFlush is closed when the next flush begins.
func (d *Disk) NextFlush() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.begun
}

// Cut takes the power away: each block that was not flushed is lost, or with
// the probability given reached the medium all the same, in no order, as on a
// disk that was about to write them. It returns how many there were and how
// many of them were lost.
func (d *Disk) Cut(survives float64, rng *rand.Rand) (unflushed, lost int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cuts++
	unflushed = len(d.cache)
	// In order, so that a seed gives the same cut again.
	for _, block := range slices.Sorted(maps.Keys(d.cache)) {
		if rng.Float64() < survives {
			copy(d.durable[block*blockSize:], d.cache[block])
		} else {
			lost++
		}
	}
	clear(d.cache)
	return unflushed, lost
}

// Flushes counts them.
func (d *Disk) Flushes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flushes
}
