package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Bounds of what is read. A container's own description holds its environment
// and labels; a list of containers holds some kilobyte of each.
const (
	mostOfOne  = 1 << 20
	mostOfList = 16 << 20
	mostLinks  = 1 << 14
)

// read reads a regular file below a directory: not through a symbolic link that
// leaves the directory, not beyond the bound, and not waiting for a FIFO.
func read(dir, name string, most int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	full := filepath.Join(dir, name)
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", full)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s holds more than %d bytes", full, most)
	}
	return data, err
}

// readJSON reads a file as read does. The error does not show what is in it.
func readJSON(dir, name string, most int64, into any) error {
	data, err := read(dir, name, most)
	if err != nil {
		return err
	}
	if json.Unmarshal(data, into) != nil {
		return fmt.Errorf("%s is not the JSON that its runtime writes", filepath.Join(dir, name))
	}
	return nil
}

// readNames lists a directory up to a bound, in no order.
func readNames(dir string, most int) ([]string, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0) // #nosec G304 -- a runtime's directory below the root that the caller names
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(most + 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if len(names) > most {
		return nil, fmt.Errorf("%s holds more than %d names", dir, most)
	}
	return names, err
}

// absent says that a runtime is not there, or does not know the container.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}
