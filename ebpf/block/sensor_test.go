package block

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// TestAgainstDiskstats does direct and buffered I/O and holds the sensor to the
// kernel's own counters of the disk, with bios told apart and without: what was
// seen and what was unseen are together what the kernel has.
func TestAgainstDiskstats(t *testing.T) {
	for _, o := range []owners{mayDiffer, tellApart} {
		againstDiskstats(t, o)
	}
}

func againstDiskstats(t *testing.T, o owners) {
	d := diskHere(t)
	s := openHere(t, Config{}, o)
	const size = 8 << 20
	outer := d.stat(t)
	before := look(t, s)
	ahead := s.ahead(before, d)
	settle(t)
	inner := d.stat(t)
	for _, how := range []string{"direct", "buffered"} {
		name := filepath.Join(d.dir, how)
		if err := write(how, name, size); err != nil {
			t.Fatal(err)
		}
		read(t, name)
	}
	innerEnd := d.stat(t)
	after := look(t, s)
	for op, a := range s.ahead(after, d) {
		ahead[op] = ahead[op].plus(a)
	}
	settle(t)
	outerEnd := d.stat(t)

	// What came while the counters were read may be in one and not in the other;
	// what was under way at either end may hide as much of what is unseen.
	within := func(what string, n, ahead, from, to, from2, to2 uint64) {
		t.Helper()
		if n+ahead < to-from || n > to2-from2 {
			t.Errorf("owners %d: %s: %d (and %d), where the kernel has %d to %d", o, what, n, ahead, to-from, to2-from2)
		}
	}
	since := func(op Operation) amount { return after.known(d, op).minus(before.known(d, op)) }
	within("bytes read", since(Read).bytes, ahead[Read].bytes, inner.readBytes, innerEnd.readBytes, outer.readBytes, outerEnd.readBytes)
	within("bytes written", since(Write).bytes, ahead[Write].bytes, inner.written, innerEnd.written, outer.written, outerEnd.written)
	within("reads", since(Read).operations, ahead[Read].operations, inner.reads, innerEnd.reads, outer.reads, outerEnd.reads)
	within("flushes", since(Flush).operations, ahead[Flush].operations, inner.flushes, innerEnd.flushes, outer.flushes, outerEnd.flushes)
	// There flushes that somebody waits for are writes as well, of nothing; and
	// one with data is counted when all of it is done.
	unseen := after.Unseen[Key{0, d.dev, Write}]
	if n, least := since(Write).operations, uint64(size/chunk); n > outerEnd.writes-outer.writes+outerEnd.flight || n < least && unseen.Bytes == 0 {
		t.Errorf("owners %d: %d writes, where the kernel has %d", o, n, outerEnd.writes-outer.writes)
	}
	if n := outerEnd.written - outer.written; n < 2*size {
		t.Errorf("the kernel wrote %d bytes of %d", n, 2*size)
	}
	for _, u := range []Usage{after.of(d, Read), after.of(d, Write)} {
		if u.Latency.Count() != u.Operations || u.Latency.Sum <= 0 || u.Latency.Quantile(0.5) == 0 {
			t.Errorf("%d latencies, %v in all, of %d operations", u.Latency.Count(), u.Latency.Sum, u.Operations)
		}
	}
	if len(after.Unseen) != 0 {
		t.Logf("owners %d: unseen %+v", o, after.Unseen)
	}
	if after.Overflow != (Usage{}) {
		t.Errorf("overflow %+v with room for all", after.Overflow)
	}
	if got := after.Disks[d.dev]; got.Name != d.name {
		t.Errorf("%v is called %q, not %q", d.dev, got.Name, d.name)
	}
}

// Without the io controller everything is the root's, and that is said.
func TestWithoutController(t *testing.T) {
	s := openHere(t, Config{}, oneOwner)
	if len(s.Missing()) == 0 {
		t.Skip("the io controller is cgroup2's here")
	}
	d := diskHere(t)
	ahead := s.ahead(look(t, s), d)
	if err := write("direct", filepath.Join(d.dir, "f"), 1<<20); err != nil {
		t.Fatal(err)
	}
	sn := look(t, s)
	for k := range sn.Usage {
		if k.Cgroup != cgroup.Root {
			t.Errorf("%+v is not the root's", k)
		}
	}
	seen, unseen := sn.Usage[Key{cgroup.Root, d.dev, Write}].Bytes, sn.Unseen[Key{0, d.dev, Write}].Bytes
	if seen+unseen+ahead[Write].bytes+s.ahead(sn, d)[Write].bytes < 1<<20 {
		t.Errorf("the root wrote %d bytes, and %d were unseen", seen, unseen)
	}
}

func TestOverflow(t *testing.T) {
	d := diskHere(t)
	w := watch(t, d)
	s := openHere(t, Config{MaxKeys: 1}, oneOwner)
	name := filepath.Join(d.dir, "f")
	if err := write("direct", name, 1<<20); err != nil {
		t.Fatal(err)
	}
	read(t, name)
	sn := look(t, s)
	if len(sn.Usage) != 1 {
		t.Fatalf("%d keys where one has room", len(sn.Usage))
	}
	all := sn.Overflow
	for _, u := range sn.Usage {
		all = all.plus(u)
	}
	unseen := w.unseen(t, Read) + w.unseen(t, Write)
	if sn.Overflow.Bytes == 0 || all.Bytes+unseen < 2<<20 || all.Operations != all.Latency.Count() {
		t.Errorf("overflow %+v, all %+v, unseen %d", sn.Overflow, all, unseen)
	}
}

func TestNameless(t *testing.T) {
	const head = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
	kernel := btf.NewCache()
	for table, want := range map[string][]string{
		"cpu\t3\t1\t1\nblkio\t0\t40\t1\nmemory\t0\t40\t1\n": nil,
		"blkio\t7\t1\t1\n":                  {"blkio controller is bound to a version 1 hierarchy; boot with cgroup_no_v1=blkio"},
		"blkio\t0\t1\t0\n":                  {"blkio controller is off; boot without"},
		"blkio\t0\t1\t1\nmemory\t0\t1\t0\n": {"whose buffered writes are written back: the memory controller is off"},
		"blkio\t7\t1\t1\nmemory\t4\t1\t1\n": {"whose block I/O", "whose buffered writes"},
		"blkio\nrubbish 1":                  nil,
	} {
		file := filepath.Join(t.TempDir(), "cgroups")
		if err := os.WriteFile(file, []byte(head+table), 0o600); err != nil {
			t.Fatal(err)
		}
		got := nameless(kernel, file)
		if len(got) != len(want) {
			t.Errorf("%q: %q", table, got)
			continue
		}
		for i, w := range want {
			if !strings.Contains(got[i], w) {
				t.Errorf("%q: %q lacks %q", table, got[i], w)
			}
		}
	}
	if got := nameless(kernel, filepath.Join(t.TempDir(), "none")); got != nil {
		t.Errorf("without a table: %q", got)
	}
}

func TestRefuses(t *testing.T) {
	for _, n := range []int{-1, maxKeys + 1} {
		if _, err := Open(Config{MaxKeys: n}); err == nil || !strings.Contains(err.Error(), "give 1 to") {
			t.Errorf("%d keys: %v", n, err)
		}
	}
}

func TestCloseTwice(t *testing.T) {
	s := openHere(t, Config{}, oneOwner)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Snapshot(); err == nil {
		t.Error("a closed sensor gave a snapshot")
	}
}

func TestOperationNames(t *testing.T) {
	for op, want := range []string{"read", "write", "flush", "discard", "other", "other"} {
		if got := Operation(op).String(); got != want {
			t.Errorf("%d is %q", op, got)
		}
	}
}

func TestProbes(t *testing.T) {
	d := diskHere(t)
	openHere(t, Config{}, oneOwner)
	c, err := MeasureCost(d.dir, 10, 50)
	if err != nil {
		t.Fatal(err)
	}
	if c.Empty <= 0 || c.Counting <= c.Empty {
		t.Errorf("%+v", c)
	}
	t.Logf("%+v, above an empty program %v", c, c.Above())
	if _, err := MeasureCost(d.dir, 0, 1); err == nil {
		t.Error("measured nothing")
	}
	if _, err := MeasureCost(filepath.Join(d.dir, "none"), 1, 1); err == nil {
		t.Error("measured nowhere")
	}
	if _, err := MeasureCost("/dev/shm", 1, 1); err == nil {
		t.Error("measured memory")
	}
}

func BenchmarkRequest(b *testing.B) {
	d := diskHere(b)
	openHere(b, Config{}, oneOwner)
	for range b.N {
		c, err := MeasureCost(d.dir, 60, 100)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(c.Empty), "empty-ns/request")
		b.ReportMetric(float64(c.Counting), "counting-ns/request")
		b.ReportMetric(float64(c.Above()), "above-ns/request")
	}
	b.ReportMetric(0, "ns/op")
}
