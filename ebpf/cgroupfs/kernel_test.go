package cgroupfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pressureFiles skips where the kernel has none, or has them off.
func pressureFiles(t testing.TB, l leaf) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(l.dir, "cpu.pressure")); errors.Is(err, fs.ErrNotExist) {
		t.Skip("no pressure files in cgroups: ", err)
	}
}

func TestPressureOfARealCgroup(t *testing.T) {
	l := newLeaf(t, hierarchy(t), "")
	pressureFiles(t, l)
	r := l.reader(t)
	if got := look(t, r); got.CPU == nil || got.IO == nil || got.Mem == nil || got.CPU.Some != 0 {
		t.Fatalf("%+v", got)
	}
	crowd(t, l)
	eventually(t, "200 ms of stalls", func() bool { return look(t, r).CPU.Some > 200*time.Millisecond })
	if got := look(t, r); got.Mem.Full > got.Mem.Some || got.IO.Full > got.IO.Some {
		t.Errorf("%+v", got)
	}
}

// A reader keeps to its cgroup: one that is made under the same path is another.
func TestReplaced(t *testing.T) {
	h := hierarchy(t)
	l := newLeaf(t, h, "")
	r := l.reader(t)
	look(t, r)
	l.remove(t)
	if err := h.Create(l.path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := r.Read(); !errors.Is(err, fs.ErrNotExist) || got != (Stat{}) || !strings.Contains(err.Error(), l.path) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if _, err := Open(h, l.id, l.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened by its old id: %v", err)
	}
}

func TestMemory(t *testing.T) {
	h := hierarchy(t)
	needs(t, h, "memory")
	outer := newLeaf(t, h, "")
	outer.write(t, "cgroup.subtree_control", "+memory")
	inner := newLeaf(t, h, outer.path)
	above, r := outer.reader(t), inner.reader(t)
	if got := look(t, r).Memory; got == nil || got.Max != 0 || got.OOMKills != 0 {
		t.Fatalf("%+v", got)
	}
	const mb = 1 << 20
	c := start(t, inner.dir, "touch:30")
	got := look(t, r).Memory
	if got.Current < 30*mb || got.WorkingSet < 30*mb || got.WorkingSet > got.Current {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(filepath.Join(inner.dir, "memory.peak")); err == nil && got.Peak < got.Current {
		t.Errorf("peak below the current: %+v", got)
	}
	_ = c.Process.Kill()
	_ = c.Wait()

	// The page cache of a write is reclaimed below a limit, which has room for
	// the program itself: 10 MB where its own pages are charged to it, as those
	// of an initramfs are.
	inner.write(t, "memory.max", "16777216")
	if err := start(t, inner.dir, "write:"+filepath.Join(t.TempDir(), "f")+":32").Wait(); err != nil {
		t.Errorf("a write of 32 MB: %v", err)
	}
	for range patience + 1 {
		got = look(t, r).Memory
	}
	if got.Max != 16*mb || got.Reclaimed < 8*mb || got.AtMax == 0 {
		t.Errorf("after a write of 32 MB: %+v", got)
	}
	// The one above answers for what is killed below.
	if err := start(t, inner.dir, "touch:64").Wait(); err == nil {
		t.Error("64 MB fit into 16")
	}
	for name, r := range map[string]*Reader{"inner": r, "outer": above} {
		if got := look(t, r).Memory; got.OOMKills != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A controller may be turned off and on while the reader is open.
func TestControllersComeAndGo(t *testing.T) {
	h := hierarchy(t)
	needs(t, h, "memory")
	outer := newLeaf(t, h, "")
	outer.write(t, "cgroup.subtree_control", "+memory")
	inner := newLeaf(t, h, outer.path)
	r := inner.reader(t)
	for range 2 {
		if got := look(t, r); got.Memory == nil {
			t.Fatalf("on: %+v", got)
		}
		outer.write(t, "cgroup.subtree_control", "-memory")
		if got := look(t, r); got.Memory != nil {
			t.Errorf("off: %+v", got)
		}
		if missing := strings.Join(r.Missing(), "\n"); !strings.Contains(missing, "write +memory to "+outer.dir+"/cgroup.subtree_control") {
			t.Error(missing)
		}
		outer.write(t, "cgroup.subtree_control", "+memory")
	}
}

func TestThrottled(t *testing.T) {
	h := hierarchy(t)
	needs(t, h, "cpu")
	l := newLeaf(t, h, "")
	r := l.reader(t)
	l.write(t, "cpu.max", "10000 100000")
	start(t, l.dir, "burn:30")
	eventually(t, "100 ms of throttling", func() bool {
		got := look(t, r).Throttle
		return got.Time > 100*time.Millisecond && got.Periods > 0
	})
}

func TestMissingSaysWhatToDo(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"/system.slice/a.service", "systemctl set-property a.service MemoryAccounting=yes"},
		{"/user.slice/user-0.slice/user@0.service/app.slice/b.scope", "systemctl --user set-property b.scope MemoryAccounting=yes"},
		{"/system.slice/a.service/inner", "give a.service Delegate=memory (DelegateControllers), and write +memory to /cg/system.slice/a.service/cgroup.subtree_control"},
		{"/mine", "start it with camctl run, or write +memory to /cg/cgroup.subtree_control"},
	} {
		if got := enable(c.path, "/cg", "memory", "MemoryAccounting=yes"); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s; want %s", c.path, got, c.want)
		}
	}
	if got := notThere("memory"); !strings.Contains(got, "cgroup_enable=memory") {
		t.Error(got)
	}
	// A machine whose version 1 has the controllers, or one that has them off.
	r, put := pretended(t, map[string]string{"cgroup.controllers": "pids\n"})
	look(t, r)
	all := strings.Join(r.Missing(), "\n")
	for _, want := range []string{"throttled time", "unified_cgroup_hierarchy=1 cgroup_enable=memory", "psi=1"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in:\n%s", want, all)
		}
	}
	put("cgroup.controllers", "cpu io memory\n")
	put("cpu.pressure", "some total=1\n")
	for range patience + 1 {
		look(t, r)
	}
	if got := r.Missing(); len(got) != 0 {
		t.Error(got)
	}
}

// BenchmarkLook is a look at 50 agents.
func BenchmarkLook(b *testing.B) {
	h := hierarchy(b)
	var all []*Reader
	for range 50 {
		all = append(all, newLeaf(b, h, "").reader(b))
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, r := range all {
			look(b, r)
		}
	}
}
