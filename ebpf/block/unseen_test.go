package block

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseDiskstats(t *testing.T) {
	const lines = `   8       0 sda 10 1 80 5 20 2 160 7 1 9 12 3 0 24 4 6 8
   8       1 sda1 1 0 8 0 0 0 0 0 0 0 0
   0       0 nvme0c0n1 1 1 1 1 1 1 1 1 1 1 1
`
	got, err := parseDiskstats([]byte(lines))
	if err != nil {
		t.Fatal(err)
	}
	want := map[Device]stats{
		{8, 0}: {"sda", work{Read: {80 * 512, 10}, Write: {160 * 512, 20}, Discard: {24 * 512, 3}, Flush: {0, 6}}},
		{8, 1}: {"sda1", work{Read: {8 * 512, 1}}}, // before 4.18
	}
	if !maps.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{"8 0 sda 1 2 3\n", strings.Replace(lines, " 10 ", " ten ", 1)} {
		if _, err := parseDiskstats([]byte(bad)); err == nil || !strings.Contains(err.Error(), "has the line") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestReadDiskstatsRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := readDiskstats(dir); err == nil {
		t.Error("read what is not there")
	}
	name := filepath.Join(dir, "diskstats")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readDiskstats(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, make([]byte, maxDiskstats+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readDiskstats(dir); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Error(err)
	}
}

// Without diskstats a sensor says so, and counts all the same.
func TestWithoutDiskstats(t *testing.T) {
	d := diskHere(t)
	s := openHere(t, Config{Procfs: t.TempDir()}, oneOwner)
	if !slices.ContainsFunc(s.Missing(), func(m string) bool { return strings.Contains(m, "shows to no program") }) {
		t.Errorf("missing: %q", s.Missing())
	}
	name := filepath.Join(d.dir, "f")
	if err := write("direct", name, 16*chunk); err != nil {
		t.Fatal(err)
	}
	if sn := look(t, s); len(sn.Unseen) != 0 || sn.of(d, Write).Bytes == 0 {
		t.Errorf("unseen %+v, wrote %+v", sn.Unseen, sn.of(d, Write))
	}
}

// bench is a reconciliation without a kernel.
type bench struct {
	t     *testing.T
	y     tree
	n     unseen
	sda   Device
	shown map[Key]Usage
}

func newBench(t *testing.T) *bench {
	b := &bench{t, tree{t, t.TempDir()}, unseen{disks: map[Device]*counted{}, left: map[Device]*work{}}, Device{8, 0}, map[Key]Usage{}}
	b.y.disk("8:0", "sda", "mq/0/cpu_list")
	b.y.disk("253:0", "dm-0", "mq/0/cpu_list", "dm/name")
	b.y.disk("252:0", "zram0")
	return b
}

// look sees every device at the same counters.
func (b *bench) look(w work, overflow Usage) map[Key]Usage {
	b.n.take(map[Device]stats{b.sda: {"sda", w}, {253, 0}: {"dm-0", w}, {252, 0}: {"zram0", w}})
	return b.n.compare(b.y.dir, b.shown, overflow)
}

func (b *bench) expect(got map[Key]Usage, want work) {
	b.t.Helper()
	var has work
	for k, u := range got {
		if k.Device != b.sda || k.Cgroup != 0 {
			b.t.Errorf("%+v is unseen", k)
			continue
		}
		has.add(k.Op, u)
	}
	if has != want {
		b.t.Errorf("%+v is unseen, want %+v", has, want)
	}
}

func TestUnseen(t *testing.T) {
	b := newBench(t)
	read := Key{1, b.sda, Read}
	start := work{Read: {1000, 10}, Write: {1000, 10}}
	b.expect(b.look(start, Usage{}), work{}) // what was before is nobody's
	b.shown[read] = Usage{Bytes: 400, Operations: 4}
	next := work{Read: {1500, 15}, Write: {1000, 10}}
	b.expect(b.look(next, Usage{}), work{Read: {100, 1}})
	// The map is ahead of diskstats while more completes: nothing goes back.
	b.shown[read] = Usage{Bytes: 600, Operations: 6}
	b.expect(b.look(next, Usage{}), work{Read: {100, 1}})
	// What is lost then shows when diskstats has all.
	b.expect(b.look(work{Read: {1900, 19}, Write: {1200, 12}}, Usage{}), work{Read: {300, 3}, Write: {200, 0}})
	// A reaped entry was seen all the same.
	b.n.of(b.sda).add(Read, b.shown[read])
	delete(b.shown, read)
	b.expect(b.look(work{Read: {1900, 19}, Write: {1200, 12}, Flush: {0, 2}}, Usage{}), work{Read: {300, 3}, Write: {200, 0}, Flush: {0, 2}})
}

func TestUnseenOverflow(t *testing.T) {
	b := newBench(t)
	b.look(work{}, Usage{})
	b.expect(b.look(work{Read: {500, 5}}, Usage{Bytes: 500, Operations: 5}), work{})
	b.expect(b.look(work{Read: {700, 6}}, Usage{Bytes: 600, Operations: 6}), work{Read: {100, 0}})
}

// A disk that is made anew, or a counter of 32 bits that wraps, makes nothing up.
func TestUnseenBack(t *testing.T) {
	b := newBench(t)
	b.look(work{Read: {1000, 10}, Write: {50, 1}}, Usage{})
	b.shown[Key{1, b.sda, Read}] = Usage{Bytes: 300, Operations: 3}
	b.shown[Key{1, b.sda, Write}] = Usage{Bytes: 100, Operations: 2}
	b.expect(b.look(work{Read: {300, 3}, Write: {100, 2}}, Usage{}), work{})
	b.expect(b.look(work{Read: {400, 4}, Write: {100, 2}}, Usage{}), work{Read: {100, 1}})
}

// What the program and diskstats count differently is not unseen.
func TestLacks(t *testing.T) {
	for _, c := range []struct{ kernel, ours, want work }{
		{work{Write: {100, 3}}, work{Discard: {100, 3}}, work{}},                   // zeroes written
		{work{Write: {100, 3}, Discard: {50, 1}}, work{Discard: {150, 4}}, work{}}, // and discards
		{work{Write: {100, 3}, Discard: {50, 1}}, work{Discard: {20, 1}}, work{Write: {100, 0}, Discard: {30, 0}}},
		{work{Read: {8, 1}, Write: {8, 1}}, work{Other: {16, 2}}, work{}}, // a controller's commands
		{work{Write: {100, 9}, Flush: {0, 5}}, work{Write: {100, 4}, Flush: {0, 5}}, work{}},
		{work{Flush: {0, 5}}, work{Flush: {0, 3}}, work{Flush: {0, 2}}},
	} {
		if got := lacks(c.kernel, c.ours); got != c.want {
			t.Errorf("%+v of %+v: %+v, want %+v", c.ours, c.kernel, got, c.want)
		}
	}
}

// A disk whose directory comes late is held to its counters from then on; its
// number may get another disk.
func TestUnseenReal(t *testing.T) {
	b := newBench(t)
	b.y.remove("devices/virtual/block/sda/mq")
	b.look(work{}, Usage{})
	b.expect(b.look(work{Read: {100, 1}}, Usage{}), work{})
	b.y.file("devices/virtual/block/sda/mq/0/cpu_list", "0")
	b.expect(b.look(work{Read: {100, 1}}, Usage{}), work{Read: {100, 1}})
	// What was unseen stays; a disk that counts by itself adds nothing, also not
	// to the next one of its number.
	b.y.remove("devices/virtual/block/sda/mq")
	for _, n := range []uint64{900, 1800} {
		b.n.take(map[Device]stats{b.sda: {"zram1", work{Read: {n, n / 100}}}})
		b.expect(b.n.compare(b.y.dir, nil, Usage{}), work{Read: {100, 1}})
	}
	b.y.file("devices/virtual/block/sda/mq/0/cpu_list", "0")
	b.expect(b.look(work{}, Usage{}), work{Read: {100, 1}})
	b.expect(b.look(work{Read: {300, 3}}, Usage{}), work{Read: {300, 3}})
}
