package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// zonesOf is a ledger and a minute's point with so many zones.
func zonesOf(n, minute int) (Point, Ledger) {
	l := ledgerOf(uint64(minute))
	l.Zones = nil
	p := second(60 * minute)
	r := rand.New(rand.NewPCG(1, uint64(minute)))
	energy := make(map[Zone]uint64, n)
	for i := range n {
		z := Zone{fmt.Sprintf("zone-%05d-%016x", i, i*0x9E3779B1), i, "simulated"}
		baseline := make([]byte, 400)
		for j := range baseline {
			baseline[j] = byte(r.Uint32())
		}
		metered := r.Uint64() >> 1
		l.Zones = append(l.Zones, ZoneState{Zone: z, Metered: metered, Idle: metered, Baseline: baseline})
		energy[z] = r.Uint64() >> 40
	}
	p.Values[0].Usage.Energy = energy
	return p, l
}

func TestManyZonesAreReadBack(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := mustOpen(t, cfg)
	var want Ledger
	for minute := 1; minute <= 13; minute++ { // so that minutes are filed, too
		var p Point
		p, want = zonesOf(10_000, minute)
		if err := s.Append(p, want); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.LiveBytes < 5<<20 || st.Dropped != 0 {
		t.Fatalf("not the size this is about: %+v", st)
	}
	s.dirty = false // as SIGKILL leaves it
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := Check(cfg.Dir); err != nil || len(r.Problems) > 0 || r.Zones < 10_000 || r.Minutes == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	s = mustOpen(t, cfg)
	l, err := s.Ledger()
	if st := s.Stats(); err != nil || l.Sequence != 13 || len(l.Zones) != len(want.Zones) || st.Quarantines != 0 || st.LiveIgnored != 0 {
		t.Fatalf("sequence %d with %d zones, %+v, %v", l.Sequence, len(l.Zones), st, err)
	}
}

// withBaseline is a ledger that takes so many bytes and compresses well.
func withBaseline(sequence uint64, bytes int) Ledger {
	l := ledgerOf(sequence)
	l.Zones[0].Baseline = make([]byte, bytes)
	return l
}

func TestMinutesMakeWayForTheLedger(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := mustOpen(t, cfg)
	f := newFleet(400)
	for n := range 9 {
		p, _ := f.next()
		p.Boottime = time.Duration(n+1) * time.Minute
		ledger := ledgerOf(uint64(n))
		if n == 8 {
			ledger = withBaseline(8, maxBlob-100<<10)
		}
		if err := s.Append(p, ledger); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.Dropped == 0 || st.Pending == 9 {
		t.Fatalf("%+v", st)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	dropped := s.Stats().Dropped
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, cfg)
	if st := s.Stats(); sequenceOf(t, s) != 8 || st.Dropped != dropped || st.Quarantines != 0 || st.LiveIgnored != 0 {
		t.Fatalf("sequence %d, %+v", sequenceOf(t, s), st)
	}
}

func TestWhatCouldNotBeReadIsNotWritten(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := mustOpen(t, cfg)
	appendSeconds(t, s, 1, 6)
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	var size *SizeError
	if err := s.Append(second(6), withBaseline(6, maxBlob)); !errors.As(err, &size) || size.Bytes <= size.Limit {
		t.Fatalf("a live copy that cannot be read: %v", err)
	}
	if err := s.Commit(); !errors.As(err, &size) {
		t.Fatalf("a state that cannot be read: %v", err)
	}
	if st := s.Stats(); st.Degraded == "" || st.CommitsFailed != 1 {
		t.Errorf("%+v", st)
	}
	if err := s.Close(); !errors.As(err, &size) {
		t.Errorf("closed with %v", err)
	}
	s = mustOpen(t, cfg)
	if st := s.Stats(); sequenceOf(t, s) != 5 || st.Quarantines != 0 || st.LiveIgnored != 0 {
		t.Fatalf("sequence %d, %+v", sequenceOf(t, s), st)
	}
}

func TestPointsThatAreTooLargeAreDropped(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, testConfig(t))
	p, _ := zonesOf(10_000, 1)
	energy := p.Values[0].Usage.Energy
	for i := range 7_000 { // 70 million cells, if they were unfolded
		p.Values = append(p.Values, Value{fmt.Sprintf("agent-%04d", i), Usage{CPU: 1}})
	}
	if err := s.Append(p, ledgerOf(1)); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.RingDropped != 1 || st.Dropped != 1 {
		t.Errorf("%+v", st)
	}
	// And one that grew in its bucket: what was there stays.
	big := &cell{}
	big.add(head{boot: 1, boottime: time.Minute}, p.Values)
	big.values["agent-b"].Energy = energy
	s.pending[key{1, 1}] = big
	out := outcome{}
	err := s.db.Update(func(tx *bolt.Tx) error { return s.file(tx, key{1, 1}, &out) })
	if err != nil || out.dropped != 1 || out.minutes != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	delete(s.pending, key{1, 1})
}

func TestLargerStateIsNoCorruption(t *testing.T) {
	cfg := testConfig(t)
	killed(t, cfg)
	path := filepath.Join(cfg.Dir, FileName)
	c := newTestCodec(t)
	larger := c.enc.EncodeAll(make([]byte, maxBlob+1), make([]byte, sealOverhead))
	larger[0] = formatZstd
	seal(larger)
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketState).Put(keyState, larger) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	var size *SizeError
	if _, err := Open(cfg); !errors.As(err, &size) {
		t.Fatalf("opened: %v", err)
	}
	if r, err := Check(path); err != nil || len(r.Problems) != 1 {
		t.Errorf("%v, %v", r.Problems, err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was touched")
	}
}
