package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// This file reads bbolt's pages as they lie on disk (bbolt, internal/common:
// page.go, meta.go, inode.go), so that a damaged file is found out before it is
// mapped: bbolt trusts what it maps, and a bad page number ends the process.

const (
	pageHeader  = 16 // id u64, flags u16, count u16, overflow u32
	elementSize = 16
	metaSize    = 64 // magic, version, page size, flags u32; root, sequence, freelist, high water, txid, checksum u64

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10
	flagBucket   = 0x01 // of a leaf element

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = ^uint64(0)
	maxDepth    = 32 // far beyond a tree in 2^32 pages
)

var native = binary.NativeEndian

func verifyFile(f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() == 0 { // about to be initialised
		return nil
	}
	return verifyPages(f, fi.Size())
}

type boltMeta struct{ pageSize, root, freelist, highWater, txid uint64 }

func parseMeta(page []byte) (m boltMeta, ok bool) {
	b := page[pageHeader : pageHeader+metaSize]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:56])
	if native.Uint32(b) != boltMagic || native.Uint32(b[4:]) != boltVersion || native.Uint64(b[56:]) != sum.Sum64() {
		return m, false
	}
	m = boltMeta{uint64(native.Uint32(b[8:])), native.Uint64(b[16:]), native.Uint64(b[32:]), native.Uint64(b[40:]), native.Uint64(b[48:])}
	return m, m.pageSize >= 512 && m.pageSize <= 64<<10 && m.pageSize&(m.pageSize-1) == 0
}

// readMeta returns the newer of the valid meta pages.
func readMeta(r io.ReaderAt) (best boltMeta, err error) {
	buf := make([]byte, pageHeader+metaSize)
	found := false
	for _, at := range []int64{0, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10} {
		if _, err := r.ReadAt(buf, at); err != nil {
			break
		}
		// The second meta page lies one page in.
		m, ok := parseMeta(buf)
		if ok && (at == 0 || uint64(at) == m.pageSize) && (!found || m.txid > best.txid) { // #nosec G115 -- a constant
			best, found = m, true
		}
	}
	if !found {
		return best, errors.New("no valid meta page: it is cut short, overwritten or no database")
	}
	return best, nil
}

type pageVerifier struct {
	r    io.ReaderAt
	meta boltMeta
	seen []byte // by page: 1 in use, 2 free
}

// verifyPages walks all pages that the newest meta page reaches. It returns
// the first fault. Memory is bounded by the size of the file.
func verifyPages(r io.ReaderAt, size int64) error {
	meta, err := readMeta(r)
	if err != nil {
		return err
	}
	if pages := uint64(size) / meta.pageSize; meta.highWater > pages || meta.highWater < 4 { // #nosec G115 -- a file's size
		return fmt.Errorf("%d pages are in use and the file has %d: it is cut short", meta.highWater, pages)
	}
	v := &pageVerifier{r: r, meta: meta, seen: make([]byte, meta.highWater)}
	v.seen[0], v.seen[1] = 1, 1
	if meta.freelist != noFreelist {
		if err := v.freelist(meta.freelist); err != nil {
			return err
		}
	}
	return v.tree(meta.root, nil, 0)
}

// page reads a page with its overflow, and claims it.
func (v *pageVerifier) page(id uint64) ([]byte, error) {
	if id < 2 || id >= v.meta.highWater {
		return nil, fmt.Errorf("page %d is out of bounds", id)
	}
	at := int64(id * v.meta.pageSize) // #nosec G115 -- inside the file
	head := make([]byte, pageHeader)
	if _, err := v.r.ReadAt(head, at); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if own := native.Uint64(head); own != id {
		return nil, fmt.Errorf("page %d says it is %d", id, own)
	}
	run := uint64(native.Uint32(head[12:])) + 1
	if run > v.meta.highWater-id {
		return nil, fmt.Errorf("page %d runs over the end", id)
	}
	for i := id; i < id+run; i++ {
		switch v.seen[i] {
		case 1:
			return nil, fmt.Errorf("page %d is used twice", i)
		case 2:
			return nil, fmt.Errorf("page %d is used and free", i)
		}
		v.seen[i] = 1
	}
	buf := make([]byte, run*v.meta.pageSize)
	if _, err := v.r.ReadAt(buf, at); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return buf, nil
}

func (v *pageVerifier) freelist(id uint64) error {
	p, err := v.page(id)
	if err != nil {
		return fmt.Errorf("freelist: %w", err)
	}
	if native.Uint16(p[8:]) != flagFreelist {
		return fmt.Errorf("page %d is no freelist", id)
	}
	count, at := uint64(native.Uint16(p[10:])), uint64(pageHeader)
	if count == 0xFFFF { // the real count is the first entry
		count, at = native.Uint64(p[pageHeader:]), pageHeader+8
	}
	if count > (uint64(len(p))-at)/8 {
		return fmt.Errorf("freelist claims %d entries", count)
	}
	for i := range count {
		free := native.Uint64(p[at+8*i:])
		if free < 2 || free >= v.meta.highWater || v.seen[free] != 0 {
			return fmt.Errorf("freelist: page %d cannot be free", free)
		}
		v.seen[free] = 2
	}
	return nil
}

// tree verifies the pages below id, whose keys are not less than least.
func (v *pageVerifier) tree(id uint64, least []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d is nested too deep", id)
	}
	p, err := v.page(id)
	if err != nil {
		return err
	}
	if err := v.elements(p, least, depth); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// elements verifies what lies on a branch or leaf page.
func (v *pageVerifier) elements(p, least []byte, depth int) error {
	flags, count := native.Uint16(p[8:]), uint64(native.Uint16(p[10:]))
	if flags != flagBranch && flags != flagLeaf {
		return fmt.Errorf("neither branch nor leaf (flags %#x)", flags)
	}
	if flags == flagBranch && count == 0 {
		return errors.New("an empty branch")
	}
	if pageHeader+count*elementSize > uint64(len(p)) {
		return fmt.Errorf("claims %d elements", count)
	}
	key := least
	for i := range count {
		at := pageHeader + i*elementSize
		e := p[at:]
		var pos, ksize, vsize uint64
		if flags == flagBranch {
			pos, ksize = uint64(native.Uint32(e)), uint64(native.Uint32(e[4:]))
		} else {
			pos, ksize, vsize = uint64(native.Uint32(e[4:])), uint64(native.Uint32(e[8:])), uint64(native.Uint32(e[12:]))
		}
		if at+pos+ksize+vsize > uint64(len(p)) || pos < elementSize*(count-i) {
			return fmt.Errorf("element %d lies outside", i)
		}
		k := p[at+pos : at+pos+ksize]
		if c := bytes.Compare(key, k); c > 0 || c == 0 && i > 0 {
			return fmt.Errorf("element %d is out of order", i)
		}
		key = k
		switch {
		case flags == flagBranch:
			if err := v.tree(native.Uint64(e[8:]), k, depth+1); err != nil {
				return err
			}
		case native.Uint32(e)&flagBucket != 0:
			if err := v.bucket(p[at+pos+ksize:at+pos+ksize+vsize], depth); err != nil {
				return fmt.Errorf("bucket %q: %w", k, err)
			}
		}
	}
	return nil
}

// bucket verifies a bucket's value: its root page and sequence, and a page
// inside the value when the root is 0.
func (v *pageVerifier) bucket(value []byte, depth int) error {
	if len(value) < 16 {
		return fmt.Errorf("header of %d bytes", len(value))
	}
	if root := native.Uint64(value); root != 0 {
		return v.tree(root, nil, depth+1)
	}
	inline := value[16:]
	if len(inline) < pageHeader || native.Uint16(inline[8:]) != flagLeaf {
		return errors.New("inline page is no leaf")
	}
	if depth >= maxDepth {
		return errors.New("nested too deep")
	}
	return v.elements(inline, nil, depth+1)
}
