package store

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/cam-os/edge/store/internal/storepb"
)

func newTestCodec(t testing.TB) *codec {
	t.Helper()
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

var zoneGen = rapid.Custom(func(t *rapid.T) Zone {
	return Zone{rapid.SampledFrom([]string{"package", "core", "dram", "psys"}).Draw(t, "zone"),
		rapid.IntRange(-1, 3).Draw(t, "socket"), rapid.SampledFrom([]string{"rapl", "model"}).Draw(t, "source")}
})

// usageGen draws usage with figures up to most.
func usageGen(most uint64) *rapid.Generator[Usage] {
	return rapid.Custom(func(t *rapid.T) Usage {
		u := Usage{CPU: time.Duration(rapid.Uint64Range(0, min(most, math.MaxInt64)).Draw(t, "cpu")),
			Switches: rapid.Uint64Range(0, most).Draw(t, "switches"),
			Read:     rapid.Uint64Range(0, most).Draw(t, "read"), Written: rapid.Uint64Range(0, most).Draw(t, "written")}
		for z, e := range rapid.MapOfN(zoneGen, rapid.Uint64Range(1, most), 0, 5).Draw(t, "energy") {
			u.add(Usage{Energy: map[Zone]uint64{z: e}})
		}
		for f, v := range rapid.MapOfN(rapid.SampledFrom([]string{"throttled_time_ns", "moved_in", "block_bytes/vda/read", ""}), rapid.Uint64Range(1, most), 0, 3).Draw(t, "figures") {
			u.figure(f, v)
		}
		return u
	})
}

func pointGen(most uint64) *rapid.Generator[Point] {
	return rapid.Custom(func(t *rapid.T) Point {
		names := rapid.SampledFrom([]string{"a", "b", "system", "idle", "agent-with-a-longer-name", ""})
		p := Point{Start: time.Unix(rapid.Int64().Draw(t, "start"), rapid.Int64Range(0, 1e9).Draw(t, "ns")),
			Boottime: time.Duration(rapid.Int64().Draw(t, "boottime")),
			Covered:  time.Duration(rapid.Int64().Draw(t, "covered"))}
		for range rapid.IntRange(0, 6).Draw(t, "values") {
			p.Values = append(p.Values, Value{names.Draw(t, "account"), usageGen(most).Draw(t, "usage")})
		}
		return p
	})
}

func TestBlocksComeBack(t *testing.T) {
	c := newTestCodec(t)
	rapid.Check(t, func(t *rapid.T) {
		s := &Store{boot: rapid.Uint32().Draw(t, "boot")}
		var b builder
		var want []cell
		for _, p := range rapid.SliceOfN(pointGen(math.MaxUint64), 0, 8).Draw(t, "points") {
			if p.Boottime == 0 {
				p.Boottime = 1
			}
			h := s.head(p)
			var sum cell
			sum.add(h, p.Values)
			b.point(h)
			for _, v := range p.Values {
				b.value(v)
			}
			want = append(want, sum)
		}
		blob, err := c.seal(b.finish(), rapid.Bool().Draw(t, "compress"))
		if err != nil {
			t.Fatal(err)
		}
		var block storepb.Block
		if err := c.open(blob, &block); err != nil {
			t.Fatal(err)
		}
		i := 0
		err = walkBlock(&block, nil, func(h head, values []Value) {
			var got cell
			got.add(h, values)
			if h != want[i].head {
				t.Fatalf("point %d: %+v, packed %+v", i, h, want[i].head)
			}
			if diff := cmp.Diff(want[i].list(), got.list()); diff != "" {
				t.Fatal(diff)
			}
			i++
		})
		if err != nil || i != len(want) {
			t.Fatalf("%d of %d points, %v", i, len(want), err)
		}
	})
}

func TestSumsDoNotDependOnGrouping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		points := rapid.SliceOfN(pointGen(math.MaxUint64), 1, 12).Draw(t, "points")
		s := &Store{boot: 1}
		var whole, left, right cell
		cut := rapid.IntRange(0, len(points)).Draw(t, "cut")
		for i, p := range points {
			h := s.head(p)
			whole.add(h, p.Values)
			if i < cut {
				left.add(h, p.Values)
			} else {
				right.add(h, p.Values)
			}
		}
		var sum cell
		for _, c := range []cell{left, right} {
			if c.values != nil {
				sum.add(c.head, c.list())
			}
		}
		if diff := cmp.Diff(whole.list(), sum.list()); diff != "" || whole.covered != sum.covered {
			t.Fatalf("%v %v %s", whole.covered, sum.covered, diff)
		}
	})
}

func TestLedgersComeBack(t *testing.T) {
	c := newTestCodec(t)
	rapid.Check(t, func(t *rapid.T) {
		l := Ledger{BootID: rapid.StringN(0, 10, 40).Draw(t, "boot"), Sequence: rapid.Uint64().Draw(t, "sequence")}
		moment := rapid.Custom(func(t *rapid.T) time.Time {
			if rapid.Bool().Draw(t, "zero") {
				return time.Time{}
			}
			return time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		})
		for _, name := range rapid.SliceOfNDistinct(rapid.StringN(0, 10, 40), 0, 5, rapid.ID).Draw(t, "names") {
			a := AccountState{Name: name, Kind: rapid.Uint8().Draw(t, "kind"), Total: usageGen(math.MaxUint64).Draw(t, "total")}
			if rapid.Bool().Draw(t, "agent") {
				a.Agent = &AgentState{Cgroup: "/x", Origin: "run", Opened: moment.Draw(t, "opened"), LastSeen: moment.Draw(t, "seen"), Ended: moment.Draw(t, "ended")}
			}
			l.Accounts = append(l.Accounts, a)
		}
		for _, z := range rapid.SliceOfNDistinct(zoneGen, 0, 4, rapid.ID).Draw(t, "zones") {
			l.Zones = append(l.Zones, ZoneState{Zone: z, Metered: rapid.Uint64().Draw(t, "metered"), Idle: rapid.Uint64().Draw(t, "idle"),
				Baseline: rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "baseline")})
		}
		blob, err := c.seal(packLedger(l), true)
		if err != nil {
			t.Fatal(err)
		}
		var p storepb.Ledger
		if err := c.open(blob, &p); err != nil {
			t.Fatal(err)
		}
		got, err := unpackLedger(&p)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(l, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestAnythingCanBeAppended gives Append what no clock or counter should say.
func TestAnythingCanBeAppended(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.noSync = true
	rapid.Check(t, func(rt *rapid.T) {
		cfg.Dir, cfg.LiveDir = memoryDir(t), memoryDir(t)
		s, err := Open(cfg)
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		var want Usage
		for _, p := range rapid.SliceOfN(pointGen(math.MaxUint64), 0, 30).Draw(rt, "points") {
			for _, v := range p.Values {
				want.add(v.Usage)
			}
			if err := s.Append(p, ledgerOf(1)); err != nil {
				rt.Fatal(err)
			}
			if rapid.Bool().Draw(rt, "commit") {
				if err := s.Commit(); err != nil {
					rt.Fatal(err)
				}
			}
		}
		points, _, err := s.Series(time.Time{}, time.Time{}, time.Minute, nil)
		if err != nil {
			rt.Fatal(err)
		}
		var got Usage
		for _, p := range points {
			for _, v := range p.Values {
				got.add(v.Usage)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatal(diff)
		}
		if r, err := s.Check(); err != nil || len(r.Problems) > 0 {
			rt.Fatal(r.Problems, err)
		}
	})
}

// FuzzOpen gives the decoder hostile blobs: with and without a right checksum.
func FuzzOpen(f *testing.F) {
	c := newTestCodec(f)
	s := &Store{boot: 1, ledger: packLedger(ledgerOf(3)), pending: map[key]*cell{}}
	s.pend(s.head(second(1)), second(1).Values)
	for _, compress := range []bool{false, true} {
		blob, err := c.seal(s.state(s.pendingKeys()), compress)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(blob, true)
	}
	f.Add([]byte{formatRaw, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}, false)
	f.Fuzz(func(t *testing.T, blob []byte, right bool) {
		if right && len(blob) > sealOverhead {
			seal(blob)
		}
		var block storepb.Block
		for _, m := range []proto.Message{&block, &storepb.Boot{}} {
			if err := c.open(blob, m); err != nil && !errors.Is(err, errBlob) && !tooLarge(err) {
				t.Fatalf("an error of another kind: %v", err)
			}
		}
		_ = walkBlock(&block, nil, func(head, []Value) {})
		if state, err := c.openState(blob); err == nil {
			l, err := unpackLedger(state.Ledger)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := unpackLedger(packLedger(l)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestHostileLengthsDoNotAllocate(t *testing.T) {
	c := newTestCodec(t)
	bomb := c.enc.EncodeAll(make([]byte, maxBlob+1), make([]byte, sealOverhead))
	bomb[0] = formatZstd
	seal(bomb)
	if err := c.open(bomb, &storepb.Block{}); !tooLarge(err) || errors.Is(err, errBlob) {
		t.Fatalf("%d bytes in %d: %v", maxBlob+1, len(bomb), err)
	}
	// A million values claimed by one point, and a column that is not there.
	for _, b := range []*storepb.Block{
		{Boot: []uint32{1}, Boottime: []int64{0}, Offset: []int64{0}, Covered: []uint64{0}, Values: []uint32{1 << 20}},
		{Boot: []uint32{1, 2}, Boottime: []int64{0}, Offset: []int64{0}, Covered: []uint64{0}, Values: []uint32{0}},
		{Account: []uint32{9}},
		{Energy: []uint64{1}},
		{Cpu: []uint64{1}},
	} {
		if err := walkBlock(b, nil, func(head, []Value) { t.Error("called") }); !errors.Is(err, errBlob) {
			t.Errorf("%v: %v", b, err)
		}
	}
}
