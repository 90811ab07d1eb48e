// Command guest is both ends of a minimal virtual machine: started by hand it
// packs an initramfs around itself, started as process 1 it runs what was
// packed and powers off.
//
//	guest -o initrd.gz NAME=FILE...
//
// NAME is a path inside the guest. The guest mounts what a kernel test needs
// (proc, sysfs, devtmpfs, cgroup2, an ext4 at /disk when there are a /loop.ko
// and a /disk.img), then runs every /tests/* with -test.v, each in its own
// session, and says "guest: ok" or "guest: FAILED" last.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
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
	files := [][2]string{{"init", self}}
	for _, p := range pairs {
		name, file, ok := strings.Cut(p, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=FILE", p)
		}
		files = append(files, [2]string{strings.TrimPrefix(name, "/"), file})
	}
	f, err := os.Create(out) // #nosec G304 -- the caller names the file to write
	if err != nil {
		return err
	}
	if err := writeArchive(f, files); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
