package cgroupfs

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func triggers(t testing.TB, notify func(Key)) *Triggers {
	t.Helper()
	tr, err := NewTriggers(notify)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

const (
	stall  = 50 * time.Millisecond
	window = 500 * time.Millisecond
)

// resourceful says whether this thread has CAP_SYS_RESOURCE.
func resourceful(t *testing.T) bool {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	return caps[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

func TestTriggers(t *testing.T) {
	h := hierarchy(t)
	busy, calm := newLeaf(t, h, ""), newLeaf(t, h, "")
	pressureFiles(t, busy)
	var called atomic.Uint64
	k := Key{busy.id, CPUPressure}
	tr := triggers(t, func(got Key) {
		if got == k {
			called.Add(1)
		}
	})
	for _, l := range []leaf{busy, calm} {
		for _, r := range []Resource{CPUPressure, IOPressure, MemoryPressure} {
			w, err := tr.Add(h, l.id, l.path, r, stall, window)
			if err != nil || w != window && (w != slowWindow || resourceful(t)) {
				t.Fatalf("%s: %v, %v", r, w, err)
			}
		}
	}
	if n := len(tr.Watching()); n != 6 {
		t.Errorf("%d armed", n)
	}
	crowd(t, busy)
	eventually(t, "two events", func() bool { return tr.Counts()[k] >= 2 })
	eventually(t, "two calls", func() bool { return called.Load() >= 2 })
	had := tr.Counts()
	if len(had) != 6 || had[Key{calm.id, CPUPressure}] != 0 {
		t.Errorf("%v", had)
	}
	// Asked again: one trigger, and the count goes on.
	if _, err := tr.Add(h, busy.id, busy.path, CPUPressure, stall, window); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another event", func() bool { return tr.Counts()[k] > had[k] })
	if n := len(tr.Watching()); n != 6 {
		t.Errorf("%d armed", n)
	}
	// Removed: disarmed, the count kept until it is forgotten.
	if err := tr.Remove(busy.id); err != nil {
		t.Fatal(err)
	}
	if _, ok := tr.Counts()[k]; ok || len(tr.Watching()) != 3 {
		t.Errorf("%v", tr.Counts())
	}
	calm.remove(t)
	eventually(t, "removed cgroups are let go", func() bool { return len(tr.Watching()) == 0 })
	if n := len(tr.Counts()); n != 3 {
		t.Errorf("%v", tr.Counts())
	}
	if _, err := tr.Add(h, calm.id, calm.path, CPUPressure, stall, window); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
}

// Without CAP_SYS_RESOURCE newer kernels take only windows of whole 2 s.
func TestTriggerWithoutRights(t *testing.T) {
	h := hierarchy(t)
	l := newLeaf(t, h, "")
	pressureFiles(t, l)
	tr := triggers(t, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if err := unix.Capget(&header, &caps[0]); err != nil {
			t.Error(err)
			return
		}
		caps[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
		if err := unix.Capset(&header, &caps[0]); err != nil {
			t.Error(err)
			return
		}
		w, err := tr.Add(h, l.id, l.path, CPUPressure, stall, window)
		if err != nil || w != window && w != slowWindow {
			t.Errorf("window %v, %v", w, err)
		}
		t.Logf("a window of %v became %v", window, w)
	}()
	<-done
	crowd(t, l)
	eventually(t, "an event", func() bool { return tr.Counts()[Key{l.id, CPUPressure}] > 0 })
}

func TestTriggerRefuses(t *testing.T) {
	h := hierarchy(t)
	l := newLeaf(t, h, "")
	tr := triggers(t, nil)
	for want, c := range map[string]struct {
		r             Resource
		stall, window time.Duration
	}{
		"window of 500ms to 10s": {CPUPressure, stall, 400 * time.Millisecond},
		"within 11s":             {CPUPressure, stall, 11 * time.Second},
		"shorter stall":          {CPUPressure, time.Second, window},
		"a stall of 0s":          {CPUPressure, 0, window},
		`no resource "irq"`:      {"irq", stall, window},
	} {
		if _, err := tr.Add(h, l.id, l.path, c.r, c.stall, c.window); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, _, err := openTrigger(fd, "cpu.pressure", stall, window); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "psi=1") {
		t.Errorf("no file: %v", err)
	}
	for err, want := range map[error]string{unix.EACCES: "CAP_SYS_RESOURCE", unix.EOPNOTSUPP: "psi=1", unix.ENODEV: "gone", unix.EIO: "cpu.pressure"} {
		if got := explainTrigger("cpu.pressure", err); !strings.Contains(got.Error(), want) {
			t.Errorf("%v: %v", err, got)
		}
	}
	if err := errors.Join(tr.Close(), tr.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(l.dir + "/cpu.pressure"); err == nil {
		if _, err := tr.Add(h, l.id, l.path, CPUPressure, stall, window); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("after Close: %v", err)
		}
	}
}
