package sensor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// entry is one cgroup's row in the usage map.
type entry struct {
	id     cgroup.ID
	perCPU []schedUsage // valid until the next read
	total  schedUsage
}

// percpuReader dumps the usage map in batches, into buffers that it keeps.
type percpuReader struct {
	m       *ebpf.Map
	cpus    int
	keys    []uint64
	values  []schedUsage
	entries []entry
	singly  bool // the kernel refuses batches
}

// batchSize is how many entries are read at once; it must hold the fullest
// bucket of the kernel's hash.
const batchSize = 256

func (r *percpuReader) read() ([]entry, error) {
	r.entries = r.entries[:0]
	if r.singly {
		return r.iterate()
	}
	n, err := r.batches()
	if errors.Is(err, ebpf.ErrNotSupported) {
		r.singly = true
		return r.iterate()
	}
	if err != nil {
		return nil, fmt.Errorf("read usage map: %w", err)
	}
	for i := range n {
		r.append(r.keys[i], r.values[i*r.cpus:(i+1)*r.cpus])
	}
	return r.entries, nil
}

// batches fills keys and values, growing them as needed.
func (r *percpuReader) batches() (int, error) {
	var cursor ebpf.MapBatchCursor
	n, size := 0, batchSize
	for {
		if len(r.keys) < n+size {
			r.keys = append(r.keys, make([]uint64, n+size-len(r.keys))...)
			r.values = append(r.values, make([]schedUsage, (n+size)*r.cpus-len(r.values))...)
		}
		got, err := r.m.BatchLookup(&cursor, r.keys[n:n+size], r.values[n*r.cpus:(n+size)*r.cpus], nil)
		n += got
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return n, nil
		case errors.Is(err, errBatchTooSmall):
			size *= 2
		case err != nil:
			return n, err
		}
	}
}

func (r *percpuReader) iterate() ([]entry, error) {
	var id uint64
	it := r.m.Iterate()
	for values := make([]schedUsage, r.cpus); it.Next(&id, &values); values = make([]schedUsage, r.cpus) {
		r.append(id, values)
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("read usage map: %w", err)
	}
	return r.entries, nil
}

func (r *percpuReader) append(id uint64, values []schedUsage) {
	e := entry{id: cgroup.ID(id), perCPU: values}
	for _, v := range values {
		e.total.Ns += v.Ns
		e.total.Switches += v.Switches
		e.total.Read += v.Read
		e.total.Written += v.Written
		e.total.Cycles += v.Cycles
		e.total.Instructions += v.Instructions
	}
	r.entries = append(r.entries, e)
}
