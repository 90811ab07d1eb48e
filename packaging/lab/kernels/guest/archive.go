package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// writeArchive writes a gzipped cpio archive in the "newc" format that the
// kernel unpacks (Documentation/driver-api/early-userspace/buffer-format.rst).
func writeArchive(w io.Writer, files [][2]string) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	a := archive{w: z, dirs: make(map[string]bool)}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "disk"} {
		if err := a.dir(dir); err != nil {
			return err
		}
	}
	for _, f := range files {
		b, err := os.ReadFile(f[1])
		if err != nil {
			return err
		}
		if err := a.dir(path.Dir(f[0])); err != nil {
			return err
		}
		if err := a.entry(f[0], 0o100755, b); err != nil {
			return err
		}
	}
	if err := a.entry("TRAILER!!!", 0, nil); err != nil {
		return err
	}
	return z.Close()
}

type archive struct {
	w    io.Writer
	ino  int
	dirs map[string]bool
}

// dir adds a directory and those above it, once.
func (a *archive) dir(name string) error {
	if name == "." || a.dirs[name] {
		return nil
	}
	if err := a.dir(path.Dir(name)); err != nil {
		return err
	}
	a.dirs[name] = true
	return a.entry(name, 0o040755, nil)
}

func (a *archive) entry(name string, mode int, data []byte) error {
	a.ino++
	// magic, ino, mode, uid, gid, nlink, mtime, size, 4 device numbers, name's
	// size, checksum
	head := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0) + name + "\x00"
	head += strings.Repeat("\x00", -len(head)&3)
	if _, err := io.WriteString(a.w, head); err != nil {
		return err
	}
	if _, err := a.w.Write(data); err != nil {
		return err
	}
	_, err := a.w.Write(make([]byte, -len(data)&3))
	return err
}
