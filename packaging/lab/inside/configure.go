package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/packaging/lab/wire"
)

// configure is process 1 of a guest that installs what was unpacked for a
// foreign architecture. It tells the console how that went, and switches off.
func configure() error {
	const root = "/new"
	err := mountAll(kernelFileSystems)
	if err == nil {
		err = modules()
	}
	if err == nil {
		err = mountDisk(root)
	}
	if err == nil {
		err = errors.Join(
			unix.Mount("/proc", root+"/proc", "", unix.MS_BIND, ""),
			unix.Mount("/sys", root+"/sys", "", unix.MS_BIND, ""),
			unix.Mount("/dev", root+"/dev", "", unix.MS_BIND, ""),
		)
	}
	if err == nil {
		c := exec.Command("/bin/sh", "/configure.sh")
		c.Dir = "/"
		c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
		c.Stdout, c.Stderr = os.Stdout, os.Stdout
		c.SysProcAttr = &unix.SysProcAttr{Chroot: root}
		err = c.Run()
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", ""} {
		// What a package left running holds the disk; what was written is kept.
		_ = unix.Unmount(root+dir, unix.MNT_DETACH)
	}
	unix.Sync()
	if err == nil {
		fmt.Printf("\n%s\n", wire.Configured)
	} else {
		fmt.Printf("\n%s %v\n", wire.Failed, err)
	}
	time.Sleep(time.Second) // the console is slower than the power
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
