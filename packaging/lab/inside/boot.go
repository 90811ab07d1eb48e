package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// mount is a file system that needs no disk.
type mount struct{ kind, dir string }

var kernelFileSystems = []mount{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}}

func mountAll(all []mount) error {
	for _, m := range all {
		if err := os.MkdirAll(m.dir, 0o755); err != nil { // #nosec G301 -- a root directory
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	return nil
}

// modules loads what was packed, in the order of the names.
func modules() error {
	files, err := filepath.Glob("/modules/*.ko")
	slices.Sort(files)
	for _, name := range files {
		f, openErr := os.Open(name) // #nosec G304 -- packed by the lab
		if openErr != nil {
			return openErr
		}
		if loadErr := unix.FinitModule(int(f.Fd()), "", 0); loadErr != nil && !errors.Is(loadErr, unix.EEXIST) { // #nosec G115 -- a descriptor
			err = errors.Join(err, fmt.Errorf("load %s: %w", name, loadErr))
		}
		_ = f.Close()
	}
	return err
}

// mountDisk waits for the disk and replays its journal.
func mountDisk(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for range 100 {
		if err = unix.Mount("/dev/vda", dir, "ext4", 0, "errors=remount-ro"); !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENXIO) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("mount the disk: %w", err)
	}
	return nil
}
