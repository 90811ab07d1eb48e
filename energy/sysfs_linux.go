package energy

import (
	"os"

	"golang.org/x/sys/unix"
)

// sourceOf is RAPL only for files on the kernel's own sysfs: whatever else
// looks like powercap is Simulated, so that nobody can forget to say so.
func sourceOf(f *os.File) Source {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil || int64(s.Type) != unix.SYSFS_MAGIC { // #nosec G115 -- a descriptor
		return Simulated
	}
	return RAPL
}

// nonblocking is how files are opened: a FIFO in place of one, without a
// writer, would hold up open(2) for ever.
const nonblocking = os.O_RDONLY | unix.O_NONBLOCK
