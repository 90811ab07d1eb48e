// Command guest is both ends of a minimal virtual machine: started by hand it
// packs an initramfs, started as process 1 it runs what was packed and powers
// off.
//
//	guest -o initrd.gz [-modules DIR] NAME=FILE...
//
// NAME is a path inside the guest; init is this program, built for the guest.
// DIR is /lib/modules/RELEASE of the guest's kernel, after depmod(8). The guest
// mounts what a kernel test needs (proc, sysfs, devtmpfs, cgroup2, an ext4 at
// /disk when there is a /disk.img, the virtio disk's ext4 at /scratch), then
// runs every /tests/* with -test.v, each in its own session, and says
// "guest: ok" or "guest: FAILED" last.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/cam-os/edge/packaging/lab/initramfs"
)

// modules are those of the guest's two disks. A kernel has some of them built in.
var modules = []string{"ext4", "loop", "virtio_pci", "virtio_blk"}

func main() {
	if os.Getpid() == 1 {
		boot()
		return
	}
	out := flag.String("o", "", "the initramfs to write")
	dir := flag.String("modules", "", "the kernel's /lib/modules/RELEASE")
	flag.Parse()
	if err := pack(*out, *dir, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

// pack writes a gzipped initramfs.
func pack(out, dir string, pairs []string) error {
	if out == "" {
		return fmt.Errorf("say where to write the initramfs: guest -o FILE NAME=FILE")
	}
	var files []initramfs.File
	if dir != "" {
		var err error
		if files, err = initramfs.Modules(dir, modules...); err != nil {
			return err
		}
	}
	for _, p := range pairs {
		name, file, ok := strings.Cut(p, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=FILE", p)
		}
		data, err := os.ReadFile(file) // #nosec G304 -- the caller names it
		if err != nil {
			return err
		}
		files = append(files, initramfs.File{Name: name, Data: data})
	}
	f, err := os.Create(out) // #nosec G304 -- the caller names the file to write
	if err != nil {
		return err
	}
	if err := initramfs.Write(f, files); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
