// Command guest is both ends of a minimal virtual machine: started by hand it
// packs an initramfs around itself, started as process 1 it runs what was
// packed and powers off.
//
//	guest -o initrd.gz NAME=FILE...
//
// NAME is a path inside the guest. The guest mounts what a kernel test needs
// (proc, sysfs, devtmpfs, cgroup2, an ext4 at /disk when there are a /loop.ko
// and a /disk.img, the virtio disk's ext4 at /scratch when there are
// /modules/*.ko), then runs every /tests/* with -test.v, each in its own
// session, and says "guest: ok" or "guest: FAILED" last.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/cam-os/edge/packaging/lab/initramfs"
)

func main() {
	if os.Getpid() == 1 {
		boot()
		return
	}
	out := flag.String("o", "", "the initramfs to write")
	flag.Parse()
	if err := pack(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

// pack writes a gzipped initramfs with this program as /init.
func pack(out string, pairs []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if out == "" {
		return fmt.Errorf("say where to write the initramfs: guest -o FILE NAME=FILE")
	}
	init, err := os.ReadFile(self) // #nosec G304 -- this program
	if err != nil {
		return err
	}
	files := []initramfs.File{{Name: "init", Data: init}}
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
