package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// madeStore makes a store of some hours and returns its file and live copy.
func madeStore(t *testing.T) (file, live []byte) {
	t.Helper()
	cfg := testConfig(t)
	s := mustOpen(t, cfg)
	f := newFleet(10)
	for range 1200 {
		f.n += 9
		p, l := f.next()
		if err := s.Append(p, l); err != nil {
			t.Fatal(err)
		}
		if f.n%120 == 0 {
			if err := s.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	livePath := s.live.path
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, err1 := os.ReadFile(filepath.Join(cfg.Dir, FileName))
	live, err2 := os.ReadFile(livePath)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return file, live
}

// livePath is where a store with this configuration has its live copy.
func livePath(cfg Config) string {
	var l live
	l.choose(cfg)
	return l.path
}

// use puts the two files in place, and does all that a node does.
func use(t *testing.T, file, live []byte, name string) (st Stats, sequence uint64) {
	t.Helper()
	cfg := testConfig(t)
	cfg.Dir = memoryDir(t) // hundreds of them
	if err := os.WriteFile(filepath.Join(cfg.Dir, FileName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	if live != nil {
		if err := os.WriteFile(livePath(cfg), live, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Check(cfg.Dir); err != nil {
		t.Fatalf("%s: Check: %v", name, err)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer s.Close()
	l, err := s.Ledger()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	_, _, _ = s.Series(time.Unix(0, 0), time.Time{}, time.Hour, nil)
	_, _, _ = s.Series(time.Unix(0, 0), time.Time{}, time.Minute, nil)
	for n := range 20 { // new minutes, so that some are filed
		p := second(12_000 + 60*n)
		if err := s.Append(p, l); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := s.Commit(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	again, err := Open(cfg)
	if err != nil {
		t.Fatalf("%s: again: %v", name, err)
	}
	defer again.Close()
	if l, err := again.Ledger(); err != nil || l.Sequence < 1 && live != nil {
		t.Fatalf("%s: again: sequence %d, %v", name, l.Sequence, err)
	}
	return s.Stats(), l.Sequence
}

func TestCutShortAtEveryPage(t *testing.T) {
	t.Parallel()
	file, live := madeStore(t)
	const page = 4096
	cut := 0
	for n := 0; n < len(file); n += page {
		for _, extra := range []int{0, 100} {
			st, sequence := use(t, file[:n+extra], live, "with a live copy")
			if st.Quarantines > 0 {
				cut++
				if sequence != 1200 {
					t.Fatalf("cut at %d: the accounts did not come back from the live copy: %d", n+extra, sequence)
				}
			}
			if n+extra == 0 {
				continue
			}
			st, sequence = use(t, file[:n+extra], nil, "alone")
			if (st.Quarantines > 0) != (sequence == 0) {
				t.Fatalf("cut at %d: %d quarantined, sequence %d", n+extra, st.Quarantines, sequence)
			}
		}
	}
	if cut < 10 {
		t.Fatalf("only %d cuts were noticed", cut)
	}
}

func TestFlippedBits(t *testing.T) {
	t.Parallel()
	file, live := madeStore(t)
	used := bytes.TrimRight(file, "\x00")
	r := rand.New(rand.NewPCG(3, 4))
	var quarantined, damaged int
	for n := range 100 {
		at := r.IntN(len(used))
		if n < 40 { // page headers and tables are where it hurts
			at = at/4096*4096 + r.IntN(200)
		}
		broken := bytes.Clone(file)
		broken[at] ^= 1 << r.IntN(8)
		st, sequence := use(t, broken, live, "flipped")
		if sequence != 1200 {
			t.Fatalf("bit at %d: sequence %d, the live copy has 1200", at, sequence)
		}
		quarantined += int(st.Quarantines)
		damaged += int(st.Damaged)
	}
	if quarantined == 0 || damaged == 0 {
		t.Errorf("%d files quarantined, %d points damaged: the flips did not hit", quarantined, damaged)
	}
	t.Logf("%d files quarantined, %d points damaged", quarantined, damaged)
}

func TestCorruptWhileOpen(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := mustOpen(t, cfg)
	appendSeconds(t, s, 0, 7200)
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	// Somebody cuts the file under the running node.
	if err := os.Truncate(filepath.Join(cfg.Dir, FileName), 3*4096); err != nil {
		t.Fatal(err)
	}
	_, _, _ = s.Series(time.Unix(0, 0), time.Time{}, time.Hour, nil)
	appendSeconds(t, s, 7200, 7300)
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	if st.Quarantines != 1 || st.Degraded != "" {
		t.Fatalf("%+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.live.path); err != nil {
		t.Fatal(err)
	}
	l, err := mustOpen(t, cfg).Ledger()
	if err != nil || l.Sequence != 7299 {
		t.Fatalf("sequence %d, %v", l.Sequence, err)
	}
}

func TestNewerSchemaIsLeftAlone(t *testing.T) {
	cfg := testConfig(t)
	cfg.Writer = "0.9.0"
	if err := mustOpen(t, cfg).Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.Dir, FileName)
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(keySchema, binary.BigEndian.AppendUint32(nil, Schema+1))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	var schema *SchemaError
	if _, err := Open(cfg); !errors.As(err, &schema) || schema.Found != Schema+1 || !strings.Contains(err.Error(), `written by version "0.9.0"`) {
		t.Fatalf("a newer schema: %v", err)
	}
	if _, err := Check(path); !errors.As(err, &schema) {
		t.Fatalf("a newer schema: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Fatal("the file was touched")
	}
}

func FuzzVerifyPages(f *testing.F) {
	dir := f.TempDir()
	s, err := Open(Config{Dir: dir, LiveDir: dir, BootID: "b"})
	if err != nil {
		f.Fatal(err)
	}
	for n := range 100 {
		_ = s.Append(second(n*60), ledgerOf(uint64(n)))
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.TrimRight(file, "\x00"), uint(0), byte(0))
	f.Fuzz(func(t *testing.T, file []byte, at uint, with byte) {
		if len(file) > 0 {
			file = bytes.Clone(file)
			file[at%uint(len(file))] ^= with
		}
		_ = verifyPages(bytes.NewReader(file), int64(len(file))) // must return
	})
}
