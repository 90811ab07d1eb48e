package sensor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// UnsupportedError says what the running kernel or the process lacks, and what
// an operator can do about it.
type UnsupportedError struct {
	What   string // what is missing
	Remedy string
	Err    error // what the kernel said; may be nil
}

func (e *UnsupportedError) Error() string {
	s := "eBPF needs " + e.What
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	return s + "; " + e.Remedy
}

func (e *UnsupportedError) Unwrap() error { return e.Err }

// supported finds out early what is missing, for a better message than the
// verifier's.
func supported() error {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); errors.Is(err, os.ErrNotExist) {
		return &UnsupportedError{What: "the kernel's BTF", Remedy: "boot a kernel of 5.10 or later with CONFIG_DEBUG_INFO_BTF=y", Err: err}
	}
	if !capable(unix.CAP_SYS_ADMIN) && !(capable(unix.CAP_BPF) && capable(unix.CAP_PERFMON)) {
		return noRights(nil)
	}
	return nil
}

func noRights(err error) error {
	return &UnsupportedError{What: "CAP_BPF and CAP_PERFMON", Remedy: "run as root, or grant both (AmbientCapabilities= in the unit); kernels before 5.11 also need LimitMEMLOCK=infinity", Err: err}
}

// capable says whether this thread has a capability. If that cannot be found
// out, the kernel will say.
func capable(c int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return true
	}
	return data[c/32].Effective&(1<<(c%32)) != 0
}

// explain turns what the kernel said while loading into what is missing.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM) && lockedDown():
		return &UnsupportedError{What: "a kernel that is not locked down to confidentiality", Remedy: "boot with lockdown=integrity", Err: err}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES) && !verifier(err):
		return noRights(err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, btf.ErrNotFound):
		return &UnsupportedError{What: "a newer kernel", Remedy: "use 5.10 or later", Err: err}
	}
	return fmt.Errorf("load the eBPF sensor: %w", err)
}

func verifier(err error) bool {
	var v *ebpf.VerifierError
	return errors.As(err, &v)
}

// lockedDown says whether the kernel refuses to let BPF read its memory.
func lockedDown() bool {
	b, err := os.ReadFile("/sys/kernel/security/lockdown")
	return err == nil && strings.Contains(string(b), "[confidentiality]")
}

// hiddenTasks says whether this process is in a pid namespace of its own: the
// task iterator shows what is in it. The first one has a fixed inode number
// (include/linux/proc_ns.h, PROC_PID_INIT_INO).
func hiddenTasks(procfs string) bool {
	ns, err := os.Readlink(filepath.Join(procfs, "self/ns/pid"))
	return err == nil && ns != "pid:[4026531836]"
}

// settledTable is the kernel's side of taskIO.
type settledTable struct{ m *ebpf.Map }

func (t settledTable) settle(k taskKey, b ioBytes, first bool) error {
	flags := ebpf.UpdateExist
	if first {
		flags = ebpf.UpdateNoExist
	}
	return t.m.Update(schedTaskKey{Start: k.Start, Tid: k.Tid}, schedTaskBytes{Read: b.Read, Written: b.Written}, flags)
}

func (t settledTable) unsettle(k taskKey) bool {
	return t.m.Delete(schedTaskKey{Start: k.Start, Tid: k.Tid}) == nil
}

var errBatchTooSmall = unix.ENOSPC

func bootTime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read the boot clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// suspendedTime is by how much CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC. The
// two are read in turns; the closest pair has not been interrupted.
func suspendedTime() (time.Duration, error) {
	var best, gap time.Duration
	for i := range 3 {
		var before, boot, after unix.Timespec
		if err := errors.Join(unix.ClockGettime(unix.CLOCK_MONOTONIC, &before),
			unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot),
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)); err != nil {
			return 0, fmt.Errorf("read the boot clock: %w", err)
		}
		if g := time.Duration(after.Nano() - before.Nano()); i == 0 || g < gap {
			gap, best = g, time.Duration(boot.Nano()-before.Nano())-g/2
		}
	}
	// Never suspended: do not let the reading's error through.
	if best < time.Millisecond {
		best = 0
	}
	return best, nil
}
