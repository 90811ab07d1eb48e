package volatile

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

func disk(t *testing.T) *Disk {
	t.Helper()
	d, err := NewDisk(make([]byte, 64*blockSize), 0)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func read(t *testing.T, d *Disk, off int64, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := d.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOnlyWhatWasFlushedSurvives(t *testing.T) {
	d := disk(t)
	kept, gone := bytes.Repeat([]byte("kept"), 3000), bytes.Repeat([]byte("gone"), 3000)
	const at = 3*blockSize - 7 // over several blocks
	if _, err := d.WriteAt(kept, at); err != nil {
		t.Fatal(err)
	}
	d.Flush()
	if _, err := d.WriteAt(gone, at); err != nil {
		t.Fatal(err)
	}
	if got := read(t, d, at, len(gone)); !bytes.Equal(got, gone) {
		t.Error("a write is not seen before it is flushed")
	}
	if unflushed, lost := d.Cut(0, rand.New(rand.NewPCG(1, 1))); unflushed == 0 || lost != unflushed {
		t.Errorf("%d unflushed, %d lost", unflushed, lost)
	}
	if got := read(t, d, at, len(kept)); !bytes.Equal(got, kept) {
		t.Error("what was flushed is gone, or what was not is there")
	}
}

func TestACutMayKeepSomeBlocks(t *testing.T) {
	d := disk(t)
	if _, err := d.WriteAt(bytes.Repeat([]byte{1}, int(d.Size())), 0); err != nil {
		t.Fatal(err)
	}
	unflushed, lost := d.Cut(0.5, rand.New(rand.NewPCG(1, 1)))
	if unflushed != 64 || lost < 16 || lost > 48 {
		t.Errorf("%d unflushed, %d lost", unflushed, lost)
	}
	for b := range int64(64) {
		if p := read(t, d, b*blockSize, blockSize); !bytes.Equal(p, bytes.Repeat(p[:1], blockSize)) {
			t.Errorf("block %d is torn", b)
		}
	}
}

func TestBounds(t *testing.T) {
	d := disk(t)
	for _, off := range []int64{-1, d.Size() - 3, d.Size()} {
		if _, err := d.WriteAt(make([]byte, 4), off); err == nil {
			t.Errorf("wrote at %d", off)
		}
	}
	if _, err := NewDisk(make([]byte, 100), 0); err == nil {
		t.Error("a disk of 100 bytes")
	}
}

// What QEMU says, by hand.
func TestNBD(t *testing.T) {
	d := disk(t)
	client, server := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- d.Serve(server) }()
	expect := func(want ...any) {
		t.Helper()
		var b bytes.Buffer
		if err := write(&b, want...); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, b.Len())
		if _, err := io.ReadFull(client, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, b.Bytes()) {
			t.Fatalf("got %x, want %x", got, b.Bytes())
		}
	}
	say := func(values ...any) {
		t.Helper()
		if err := write(client, values...); err != nil {
			t.Fatal(err)
		}
	}
	expect(uint64(magicServer), uint64(magicOption), uint16(3))
	say(uint32(3))
	say(uint64(magicOption), uint32(8), uint32(0)) // structured replies
	expect(uint64(magicReply), uint32(8), uint32(repUnsupported), uint32(0))
	say(uint64(magicOption), uint32(optGo), uint32(6), uint32(0), uint16(0))
	expect(uint64(magicReply), uint32(optGo), uint32(repInfo), uint32(12), uint16(0), uint64(d.Size()), uint16(5))
	expect(uint64(magicReply), uint32(optGo), uint32(repAck), uint32(0))
	request := func(kind uint16, off int64, n uint32, data []byte) {
		say(uint32(magicRequest), uint16(0), kind, uint64(42), off, n, data)
	}
	ok := func(errno uint32) { t.Helper(); expect(uint32(magicSimple), errno, uint64(42)) }
	request(cmdWrite, 5, 5, []byte("hello"))
	ok(0)
	request(cmdRead, 4, 6, nil)
	ok(0)
	expect([]byte("\x00hello"))
	request(cmdFlush, 0, 0, nil)
	ok(0)
	if d.Flushes() != 1 || !bytes.Equal(d.durable[5:10], []byte("hello")) {
		t.Error("not flushed")
	}
	request(cmdRead, d.Size(), 1, nil)
	ok(errnoInvalid)
	request(99, 0, 0, nil)
	ok(errnoInvalid)
	request(cmdDisconnect, 0, 0, nil)
	if err := <-served; err != nil {
		t.Error(err)
	}
}
