package block

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// TestReapDisk shows the sensor a /sys without disks: accounts leave when they
// are silent, and are as new when they come back.
func TestReapDisk(t *testing.T) {
	d := diskHere(t)
	s := openHere(t, Config{Sysfs: t.TempDir()}, oneOwner)
	name := filepath.Join(d.dir, "f")
	if err := write("buffered", name, chunk); err != nil {
		t.Fatal(err)
	}
	reads := func() { // some, so that one is seen
		for range 16 {
			read(t, name)
		}
	}
	const size = 16 * chunk
	w := watch(t, d)
	reads()
	sn := look(t, s)
	var k Key // whoever this test runs as
	for is, u := range sn.Usage {
		if is.Op == Read && is.Device == d.dev && u.Bytes > 0 {
			k = is
		}
	}
	if got := sn.Disks[d.dev]; got.Name != d.name || sn.Usage[k].Bytes+w.unseen(t, Read) < size {
		t.Fatalf("%+v read %+v", got, sn.Usage[k])
	}
	had := sn.Usage[k]

	// As many looks as it takes, and one account more that comes back at once.
	gone := func() bool { return s.seen[k] == nil || s.seen[k].reaped }
	for range 100 * silentLooks {
		if look(t, s); gone() {
			break
		}
	}
	if !gone() {
		t.Skip("the disk is read all the time")
	}
	w = watch(t, d)
	reads()
	sn = look(t, s)
	if u := sn.Usage[k]; u.Bytes+w.unseen(t, Read) < had.Bytes+size || u.Operations <= had.Operations || u.Latency.Count() != u.Operations {
		t.Errorf("%+v after it was removed and came right back, %+v before", u, had)
	}
	for range 100 * silentLooks {
		if sn = look(t, s); s.seen[k] == nil {
			break
		}
	}
	if u, ok := sn.Usage[k]; ok {
		t.Fatalf("%+v is still there", u)
	}
	w = watch(t, d)
	reads()
	if u := look(t, s).Usage[k]; u.Bytes+w.unseen(t, Read) < size || s.seen[k].base != (Usage{}) {
		t.Errorf("%+v of a key that was away for a look, %+v of it from before", u, s.seen[k].base)
	}
}

func TestWithered(t *testing.T) {
	// 1 ── 2 ── 3 ── 4        5 is alive, below it 6 and 7 are removed, 7 in use
	//  └── 5 ── 6, 7
	parents := map[cgroup.ID]cgroup.ID{2: 1, 3: 2, 4: 3, 5: 1, 6: 5, 7: 5}
	removed := map[cgroup.ID]bool{2: true, 3: true, 4: true, 6: true, 7: true}
	used := map[cgroup.ID]bool{7: true}
	got := withered(parents, removed, used)
	if len(got) != 4 || slices.Contains(got, 7) || slices.Contains(got, 5) {
		t.Errorf("%v", got)
	}
	if at := func(id cgroup.ID) int { return slices.Index(got, id) }; at(4) > at(3) || at(3) > at(2) {
		t.Errorf("%v is not leaves first", got)
	}
	used[4] = true
	if got := withered(parents, removed, used); !slices.Equal(got, []cgroup.ID{6}) {
		t.Errorf("%v while 4 is in use", got)
	}
}

// An account that the program makes while its ancestry is removed keeps its way
// to the root.
func TestExhume(t *testing.T) {
	d := diskHere(t)
	s := openHere(t, Config{}, oneOwner)
	k := Key{1<<40 + 2, d.dev, Write}
	values := make([]blockIoUsage, s.usages.cpus)
	values[0].Bytes = 7
	if err := s.objs.Usages.Update(k.kernel(), values, ebpf.UpdateAny); err != nil {
		t.Fatal(err)
	}
	s.buried = map[cgroup.ID]cgroup.ID{1<<40 + 2: 1<<40 + 1, 1<<40 + 1: cgroup.Root}
	for range 2 {
		sn := look(t, s)
		if sn.Usage[k].Bytes != 7 || sn.Parents[1<<40+1] != cgroup.Root {
			t.Fatalf("%+v, parents %v", sn.Usage[k], sn.Parents)
		}
	}
}
