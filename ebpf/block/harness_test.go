package block

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

const testRoles = "CAM_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(testRoles); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// openHere skips only where the machine shows that there is no eBPF.
func openHere(t testing.TB, c Config, o owners) *Sensor {
	t.Helper()
	s, err := open(c, o)
	if err != nil {
		_, noBTF := os.Stat("/sys/kernel/btf/vmlinux")
		if os.Geteuid() != 0 || noBTF != nil {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// look takes a snapshot that holds what every snapshot must.
func look(t testing.TB, s *Sensor) *Snapshot {
	t.Helper()
	sn, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for k, u := range sn.Usage {
		for id, depth := k.Cgroup, 0; id != cgroup.Root; depth++ {
			p, ok := sn.Parents[id]
			if !ok || depth > 64 {
				t.Fatalf("cgroup %d has no way to the root", id)
			}
			id = p
		}
		if sn.Disks[k.Device].Name == "" {
			t.Fatalf("%v is not among the disks", k.Device)
		}
		if u.Latency.Count() > u.Operations {
			t.Fatalf("%v: %d latencies of %d operations", k, u.Latency.Count(), u.Operations)
		}
	}
	return sn
}

// disk is where a test may do I/O that a device sees.
type disk struct {
	dir string
	dev Device
	// name in /sys/block
	name string
}

// diskHere finds the whole disk below the test's directory.
func diskHere(t testing.TB) disk {
	t.Helper()
	dir := t.TempDir()
	if scratch := os.Getenv("CAM_LAB_SCRATCH"); scratch != "" {
		var err error
		if dir, err = os.MkdirTemp(scratch, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	link := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	at, err := filepath.EvalSymlinks(link)
	if err != nil {
		t.Skipf("%s lies on no disk: %v", dir, err)
	}
	if _, err := os.Stat(filepath.Join(at, "partition")); err == nil {
		at = filepath.Dir(at)
	}
	number, err := os.ReadFile(filepath.Join(at, "dev"))
	if err != nil {
		t.Fatal(err)
	}
	d := disk{dir: dir, name: filepath.Base(at)}
	if _, err := fmt.Sscanf(string(number), "%d:%d", &d.dev.Major, &d.dev.Minor); err != nil {
		t.Fatal(err)
	}
	return d
}

// stat reads the kernel's own counters of the disk
// (Documentation/block/stat.rst): requests and bytes read and written, flushes, and
// requests under way.
func (d disk) stat(t testing.TB) (s struct{ reads, readBytes, writes, written, flight, flushes uint64 }) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/sys/block", d.name, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b))
	for i, into := range map[int]*uint64{0: &s.reads, 2: &s.readBytes, 4: &s.writes, 6: &s.written, 8: &s.flight, 15: &s.flushes} {
		if *into, err = strconv.ParseUint(f[i], 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	s.readBytes *= 512
	s.written *= 512
	return s
}

// of sums what any cgroup did to the disk.
func (s *Snapshot) of(d disk, op Operation) (u Usage) {
	for k, v := range s.Usage {
		if k.Device == d.dev && k.Op == op {
			u = u.plus(v)
		}
	}
	return u
}

// known is what was seen of any cgroup, and what was unseen.
func (s *Snapshot) known(d disk, op Operation) amount {
	u, not := s.of(d, op), s.Unseen[Key{0, d.dev, op}]
	return amount{u.Bytes + not.Bytes, u.Operations + not.Operations}
}

// ahead is by how much the map of the last look was before diskstats: as much
// may be lost without a word.
func (s *Sensor) ahead(sn *Snapshot, d disk) (w work) {
	left, c := s.unseen.of(d.dev), s.unseen.disks[d.dev]
	for op := range w {
		u := sn.of(d, Operation(op))
		w[op] = amount{u.Bytes + left[op].bytes, u.Operations + left[op].operations}.minus(c.gained[op])
	}
	w[Write] = w[Write].plus(w[Discard]) // they might be zeroes; see lacks
	return w
}

// settle waits until what was on its way to diskstats is there; see unseen.
func settle(t testing.TB) {
	t.Helper()
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, 1, 0, 0); errno != 0 {
		t.Log(errno)
	}
}

// witness is another sensor that tells what none is shown.
type witness struct {
	s     *Sensor
	d     disk
	ahead work
	had   *Snapshot
}

func watch(t testing.TB, d disk) witness {
	t.Helper()
	s := openHere(t, Config{}, oneOwner)
	had := look(t, s)
	return witness{s, d, s.ahead(had, d), had}
}

// unseen is the most that can have been lost since.
func (w witness) unseen(t testing.TB, op Operation) uint64 {
	t.Helper()
	k := Key{0, w.d.dev, op}
	now := look(t, w.s)
	return now.Unseen[k].Bytes - w.had.Unseen[k].Bytes + w.ahead[op].bytes + w.s.ahead(now, w.d)[op].bytes
}
