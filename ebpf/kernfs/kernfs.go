// Package kernfs reads the small files of sysfs and procfs.
package kernfs

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// page bounds what is read: what sysfs shows in one file fits in a page
// (Documentation/filesystems/sysfs.rst).
const page = 4096

// Read reads a regular file of at most a page. Below a root that the operator
// names anything may lie: a FIFO is refused, not waited for.
func Read(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // #nosec G304 -- the operator names the root
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, page+1))
	if len(data) > page {
		return nil, fmt.Errorf("%s holds more than %d bytes", name, page)
	}
	return data, err
}
