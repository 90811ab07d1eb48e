package store

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var pkg0 = Zone{Name: "package", Socket: 0, Source: "rapl"}

func testConfig(t *testing.T) Config {
	t.Helper()
	return Config{Dir: t.TempDir(), LiveDir: memoryDir(t), BootID: "boot-1", LockTimeout: 50 * time.Millisecond}
}

// memoryDir is a directory of the test's own in a tmpfs, or where tests have
// theirs.
func memoryDir(t *testing.T) string {
	t.Helper()
	if !onTmpfs("/dev/shm") {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "cam-store-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func mustOpen(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// second is the point of second n of a boot, in which agent-b used n.
func second(n int) Point {
	// A boottime of 0 would mean the machine's own, whatever that is today.
	return Point{
		Start: time.Unix(1_800_000_000+int64(n), 0), Boottime: max(time.Duration(n)*time.Second, 1), Covered: time.Second,
		Values: []Value{{"agent-b", Usage{CPU: time.Duration(n), Switches: 1, Energy: map[Zone]uint64{pkg0: uint64(n)}}}},
	}
}

func ledgerOf(n uint64) Ledger {
	return Ledger{BootID: "boot-1", Sequence: n,
		Accounts: []AccountState{
			{Name: "agent-b", Kind: 0, Agent: &AgentState{Cgroup: "/cam.slice/agent-b", Origin: "run", Opened: time.Unix(1_800_000_000, 5)},
				Total: Usage{CPU: time.Duration(n), Switches: n, Read: n, Written: n, Energy: map[Zone]uint64{pkg0: n}}},
			{Name: "system", Kind: 1, Total: Usage{CPU: 7}},
		},
		Zones: []ZoneState{{Zone: pkg0, Metered: n, Agents: n, Baseline: []byte("learned")}},
	}
}

func TestLedgerSurvives(t *testing.T) {
	cfg := testConfig(t)
	s := mustOpen(t, cfg)
	if l, err := s.Ledger(); err != nil || len(l.Accounts) != 0 {
		t.Fatalf("a new store has %v, %v", l, err)
	}
	for n := 1; n <= 100; n++ {
		if err := s.Append(second(n), ledgerOf(uint64(n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, cfg)
	l, err := s.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ledgerOf(100), l); diff != "" {
		t.Fatal(diff)
	}
}
