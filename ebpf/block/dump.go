package block

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// batchSize is how many entries are read at once; it must hold the fullest
// bucket of the kernel's hash, and grows until it does.
const batchSize = 128

// reader dumps a hash of the kernel's in batches, into buffers that it keeps.
type reader[K, V any] struct {
	m      *ebpf.Map
	cpus   int // values of a key: 1 but for per-CPU maps
	size   int
	keys   []K
	values []V
}

// read hands every entry to take; values are valid until it returns.
func (r *reader[K, V]) read(take func(K, []V)) error {
	var cursor ebpf.MapBatchCursor
	for {
		if r.keys == nil {
			r.size = max(2*r.size, batchSize)
			r.keys, r.values = make([]K, r.size), make([]V, r.size*r.cpus)
		}
		n, err := r.m.BatchLookup(&cursor, r.keys, r.values, nil)
		if errors.Is(err, unix.ENOSPC) {
			r.keys = nil
			continue
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("block: read %s: %w", r.m, err)
		}
		for i := range n {
			take(r.keys[i], r.values[i*r.cpus:(i+1)*r.cpus])
		}
		if err != nil {
			return nil
		}
	}
}
