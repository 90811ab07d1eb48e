package store

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// openLocked opens path and takes the lock that bbolt would take (flock, which
// is harmless to take twice on one file), so that the pages can be verified
// before anything maps them and while nobody writes them.
func openLocked(path string, flag int, mode fs.FileMode, timeout time.Duration) (*os.File, error) {
	how := unix.LOCK_EX | unix.LOCK_NB
	if flag&(os.O_RDWR|os.O_WRONLY) == 0 {
		how = unix.LOCK_SH | unix.LOCK_NB
	}
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		// O_NONBLOCK, or a named pipe would wait for its other end.
		f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, mode) // #nosec G304 -- below the configured directory
		if err != nil {
			return nil, err
		}
		fi, err := f.Stat()
		if err == nil && !fi.Mode().IsRegular() {
			err = fmt.Errorf("store: %s is no regular file (%v); move it away, or give another --state-dir", path, fi.Mode())
		}
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		if err = unix.Flock(int(f.Fd()), how); err == nil {
			if !isAt(f, path) { // moved aside while we waited
				_ = f.Close()
				continue
			}
			if err := verifyFile(f); err != nil {
				_ = f.Close()
				return nil, &CorruptError{path, err}
			}
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			_ = f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if time.Now().After(deadline) {
			locked := &LockedError{Path: path}
			locked.PID, locked.Name = lockHolder(f)
			_ = f.Close()
			return nil, locked
		}
		_ = f.Close()
	}
}

func isAt(f *os.File, path string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

// lockHolder finds who holds a flock on f in /proc/locks, whose lines are
// "1: FLOCK  ADVISORY  WRITE 4242 fe:00:131090 0 EOF" (fs/locks.c,
// lock_get_status): pid, and device and inode of the file.
func lockHolder(f *os.File) (pid int, name string) {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0, ""
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return 0, ""
	}
	defer locks.Close()
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) < 6 || w[1] != "FLOCK" || w[5] != file {
			continue
		}
		if pid, err = strconv.Atoi(w[4]); err == nil && pid > 0 {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // #nosec G304 -- a number
			return pid, strings.TrimSpace(string(comm))
		}
	}
	return 0, ""
}
