package simulator

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A FIFO in place of cpu.stat or /proc/stat is refused, not waited for.
func TestFIFO(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stat")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 2)
	go func() {
		_, err := readUsage(file)
		errs <- err
		_, err = readStat(file)
		errs <- err
	}()
	for range cap(errs) {
		select {
		case err := <-errs:
			if err == nil || !strings.Contains(err.Error(), "not a regular file") {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("held up by a FIFO")
		}
	}
}
