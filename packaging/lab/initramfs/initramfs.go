// Package initramfs packs files and kernel modules for a guest that has no
// other file system.
package initramfs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// File is put at Name with mode 0755.
type File struct {
	Name string
	Data []byte
}

// Write writes a gzipped cpio archive in the "newc" format
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func Write(w io.Writer, files []File) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	a := archive{w: z, dirs: make(map[string]bool)}
	for _, f := range files {
		name := strings.TrimPrefix(f.Name, "/")
		if err := errors.Join(a.dir(path.Dir(name)), a.entry(name, 0o100755, f.Data)); err != nil {
			return err
		}
	}
	return errors.Join(a.entry("TRAILER!!!", 0, nil), z.Close())
}

type archive struct {
	w    io.Writer
	ino  int
	dirs map[string]bool
}

func (a *archive) dir(name string) error {
	if name == "." || a.dirs[name] {
		return nil
	}
	a.dirs[name] = true
	return errors.Join(a.dir(path.Dir(name)), a.entry(name, 0o040755, nil))
}

func (a *archive) entry(name string, mode int, data []byte) error {
	a.ino++
	var b bytes.Buffer
	b.WriteString("070701")
	// ino, mode, uid, gid, nlink, mtime, size, four device numbers, the
	// name's size, checksum
	for _, v := range []int{a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0} {
		fmt.Fprintf(&b, "%08X", v)
	}
	b.WriteString(name + "\x00")
	b.Write(make([]byte, -b.Len()&3))
	b.Write(data)
	b.Write(make([]byte, -len(data)&3))
	_, err := a.w.Write(b.Bytes())
	return err
}

// Modules returns kernel modules and all that they need, each after what it
// needs, as files named /modules/NNN.ko. dir is a release's directory below
// /lib/modules, with the modules.dep of depmod(8). Modules that are built in
// are left out.
func Modules(dir string, names ...string) ([]File, error) {
	needs, err := dependencies(dir)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]string)
	for file := range needs {
		name, _, _ := strings.Cut(path.Base(file), ".")
		byName[strings.ReplaceAll(name, "-", "_")] = file
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin")) // #nosec G304 -- the image's
	if err != nil {
		return nil, err
	}
	var out []File
	done := make(map[string]bool)
	var add func(file string) error
	add = func(file string) error {
		if done[file] {
			return nil
		}
		done[file] = true
		// modules.dep lists what is to be loaded first last.
		deps := needs[file]
		for i := len(deps) - 1; i >= 0; i-- {
			if err := add(deps[i]); err != nil {
				return err
			}
		}
		data, err := load(filepath.Join(dir, file))
		out = append(out, File{Name: fmt.Sprintf("/modules/%03d.ko", len(out)), Data: data})
		return err
	}
	for _, name := range names {
		file, ok := byName[name]
		if !ok {
			if bytes.Contains(builtin, []byte("/"+name+".ko")) || bytes.Contains(builtin, []byte("/"+strings.ReplaceAll(name, "_", "-")+".ko")) {
				continue
			}
			return nil, fmt.Errorf("%s has no module %s", dir, name)
		}
		if err := add(file); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func dependencies(dir string) (map[string][]string, error) {
	f, err := os.Open(filepath.Join(dir, "modules.dep")) // #nosec G304 -- the image's
	if err != nil {
		return nil, err
	}
	defer f.Close()
	needs := make(map[string][]string)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		file, deps, _ := strings.Cut(lines.Text(), ":")
		needs[file] = strings.Fields(deps)
	}
	return needs, lines.Err()
}

// load reads a module; newer Debians compress them.
func load(file string) ([]byte, error) {
	if strings.HasSuffix(file, ".xz") {
		return exec.Command("xz", "-dc", file).Output() // #nosec G204 -- a file of the image
	}
	return os.ReadFile(file) // #nosec G304 -- the image's
}
