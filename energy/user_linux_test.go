package energy_test

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

// asOrdinaryUser runs f without the privileges of root, on this thread alone:
// by its file system ids, which take the capabilities over files along
// (credentials(7), setfsuid(2)).
func asOrdinaryUser(t *testing.T, readable string, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	for dir := readable; dir != os.TempDir() && dir != "/"; dir = dir[:max(1, lastSlash(dir))] {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setfsuid(0) }()
	f()
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return 0
}
