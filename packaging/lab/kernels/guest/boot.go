package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// boot is process 1. It never returns: the machine goes off.
func boot() {
	verdict := "guest: ok"
	if err := run(); err != nil {
		verdict = "guest: FAILED: " + err.Error()
	}
	fmt.Println(verdict)
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

func run() error {
	for _, m := range []struct{ kind, dir string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"tmpfs", "/tmp"},
		{"cgroup2", "/sys/fs/cgroup"},
	} {
		// The archive holds files only.
		if err := os.MkdirAll(m.dir, 0o755); err != nil { // #nosec G301 -- a mount point
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	if err := mountDisk(); err != nil {
		return fmt.Errorf("mount /disk: %w", err)
	}
	if err := mountScratch(); err != nil {
		return fmt.Errorf("mount /scratch: %w", err)
	}
	// As systemd leaves it: the controllers are on below the root.
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu +io +memory"), 0); err != nil {
		return err
	}
	tests, err := filepath.Glob("/tests/*")
	if err != nil {
		return err
	}
	if len(tests) == 0 {
		return errors.New("no tests in the guest")
	}
	var errs []error
	for _, t := range tests {
		c := exec.Command(t, "-test.v", "-test.timeout=900s") // #nosec G204 -- what was packed
		c.Stdout, c.Stderr = os.Stdout, os.Stdout
		c.Env = []string{"TMPDIR=/disk", "HOME=/tmp", "PATH=/", "CAM_LAB_GUEST=1", "CAM_LAB_SCRATCH=/scratch"}
		c.Dir = "/tmp"
		if err := c.Run(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t, err))
		}
	}
	return errors.Join(errs...)
}

// loadModules loads what was packed, in the order of the names.
func loadModules() error {
	modules, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, m := range modules {
		if err := load(m); err != nil {
			return err
		}
	}
	return nil
}

func load(module string) error {
	ko, err := os.Open(module) // #nosec G304 -- what was packed
	if err != nil {
		return err
	}
	defer ko.Close()
	if err := unix.FinitModule(int(ko.Fd()), "", 0); err != nil { // #nosec G115 -- a descriptor
		return fmt.Errorf("load %s: %w", module, err)
	}
	return nil
}

// mountDisk puts an ext4 on a loop device under /disk, so that I/O is real to
// the kernel's accounting.
func mountDisk() error {
	img, err := os.OpenFile("/disk.img", os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer img.Close()
	loop, err := os.OpenFile("/dev/loop0", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer loop.Close()
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(img.Fd())); err != nil { // #nosec G115
		return fmt.Errorf("attach the image: %w", err)
	}
	return mount("/dev/loop0", "/disk")
}

// mountScratch puts the virtio disk's ext4 under /scratch: a whole disk below
// the block layer's accounting.
func mountScratch() error {
	var err error
	// The disk may be found a moment after its driver is there.
	for range 100 {
		if err = mount("/dev/vda", "/scratch"); !errors.Is(err, unix.ENOENT) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func mount(device, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- a mount point
		return err
	}
	return unix.Mount(device, dir, "ext4", 0, "")
}
