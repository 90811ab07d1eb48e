package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cam-os/edge/packaging/lab/initramfs"
	"github.com/cam-os/edge/packaging/lab/wire"
)

// configure boots a guest of the image's architecture whose process 1 installs
// the unpacked packages, and takes out the initrd that this makes. The host
// needs no programs of that architecture, nor binfmt_misc.
func configure(img *Image, dir string) (err error) {
	work, err := os.MkdirTemp("", "conf")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	initrd := filepath.Join(work, "initrd")
	if err := minimal(img, work, initrd); err != nil {
		return err
	}
	g, err := Start(Config{
		Arch: img.Arch, Kernel: img.Kernel, Initrd: initrd, Dir: work,
		Append: "quiet rdinit=/init -- configure", Disks: []string{"format=raw,cache=unsafe,file=" + img.Disk},
	})
	if err != nil {
		return err
	}
	select {
	case <-g.Exited():
	case <-time.After(30 * time.Minute):
		err = errors.New("it is not done after 30 minutes")
	}
	if err := errors.Join(err, g.Kill()); err != nil || !strings.Contains(g.Console(), wire.Configured) {
		return errors.Join(err, fmt.Errorf("the packages could not be installed in a guest:\n%s", g.Console()))
	}
	out, err := debugfs(img.Disk, "ls -p /boot")
	if err != nil {
		return err
	}
	_, name, found := strings.Cut(out, "/initrd.img-")
	name, _, _ = strings.Cut(name, "/")
	if !found {
		return fmt.Errorf("no initrd in /boot of the new image: %s", out)
	}
	if _, err := debugfs(img.Disk, "dump /boot/initrd.img-"+name+" "+img.Initrd); err != nil {
		return err
	}
	_, err = os.Stat(img.Initrd)
	return err
}

// minimal is an initramfs with the lab's program as process 1 and what it
// needs to see a disk.
func minimal(img *Image, work, file string) error {
	files, err := initramfs.Modules(img.Modules, "virtio_pci", "virtio_blk", "ext4")
	if err != nil {
		return err
	}
	program := filepath.Join(work, "inside")
	if err := GoBuild(img.Arch, "./packaging/lab/inside", program); err != nil {
		return err
	}
	data, err := os.ReadFile(program) // #nosec G304 -- just built
	if err != nil {
		return err
	}
	f, err := os.Create(file) // #nosec G304 -- in a directory of our own
	if err != nil {
		return err
	}
	return errors.Join(initramfs.Write(f, append(files, initramfs.File{Name: "init", Data: data})), f.Close())
}

// debugfs asks for what is in an ext4 image, without mounting it.
func debugfs(disk, request string) (string, error) {
	c := exec.Command("debugfs", "-R", request, disk) // #nosec G204 -- the lab's own
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("debugfs: %w: %s", err, &stderr)
	}
	return string(out), nil
}
