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
		c := exec.Command(t, "-test.v", "-test.timeout=170s") // #nosec G204 -- what was packed
		c.Stdout, c.Stderr = os.Stdout, os.Stdout
		c.Env = []string{"TMPDIR=/disk", "HOME=/tmp", "PATH=/", "CAM_LAB_GUEST=1", "CAM_LAB_SCRATCH=/scratch"}
		c.Dir = "/tmp"
		if err := c.Run(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t, err))
		}
	}
	return errors.Join(errs...)
}

// mountDisk puts an ext4 on a block device under /disk, so that I/O is real to
// the kernel's accounting.
func mountDisk() error {
	if err := os.MkdirAll("/disk", 0o755); err != nil { // #nosec G301 -- a mount point
		return err
	}
	if err := load("/loop.ko", "max_loop=1"); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	img, err := os.OpenFile("/disk.img", os.O_RDWR, 0)
	if err != nil {
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
	return unix.Mount("/dev/loop0", "/disk", "ext4", 0, "")
}

// mountScratch puts the virtio disk's ext4 under /scratch: a whole disk below
// the block layer's accounting. Modules are packed in the order of their names.
func mountScratch() error {
	modules, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, m := range modules {
		if err := load(m, ""); err != nil {
			return err
		}
	}
	if len(modules) == 0 {
		return nil
	}
	if err := os.MkdirAll("/scratch", 0o755); err != nil { // #nosec G301 -- a mount point
		return err
	}
	// The disk may be found a moment after its driver is there.
	for range 100 {
		if err = unix.Mount("/dev/vda", "/scratch", "ext4", 0, ""); !errors.Is(err, unix.ENOENT) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func load(module, parameters string) error {
	ko, err := os.Open(module) // #nosec G304 -- what was packed
	if err != nil {
		return err
	}
	defer ko.Close()
	if err := unix.FinitModule(int(ko.Fd()), parameters, 0); err != nil { // #nosec G115 -- a descriptor
		return fmt.Errorf("load %s: %w", module, err)
	}
	return nil
}
