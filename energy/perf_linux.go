package energy

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// perfFD is an event by its descriptor.
type perfFD struct{ file *os.File }

// openPerf opens an event for all processes on one CPU: perf_event_open(2).
func openPerf(pmu uint32, config uint64, cpu int) (perfEvent, error) {
	attr := unix.PerfEventAttr{Type: pmu, Config: config, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))} // #nosec G115 -- a small struct
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("perf_event_open", err)
	}
	return perfFD{os.NewFile(uintptr(fd), "perf event")}, nil // #nosec G115 -- a descriptor
}

func (p perfFD) Count() (uint64, error) {
	var b [8]byte
	n, err := unix.Read(int(p.file.Fd()), b[:]) // #nosec G115 -- a descriptor
	if err == nil && n != len(b) {
		err = fmt.Errorf("%d bytes, not %d: its CPU is offline", n, len(b))
	}
	return binary.NativeEndian.Uint64(b[:]), err
}

func (p perfFD) Close() error { return p.file.Close() }
