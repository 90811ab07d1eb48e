package energy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// longest is the most bytes that a file with one number or name can hold.
const longest = 64

// parseCounter reads what the kernel prints for a counter: decimal digits and
// a newline, nothing else.
func parseCounter(b []byte) (Microjoules, error) {
	b = bytes.TrimSuffix(b, []byte("\n"))
	if len(b) == 0 {
		return 0, errors.New("the file is empty")
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is not a number without sign", clip(b))
		}
	}
	v, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q does not fit 64 bits", clip(b))
	}
	return Microjoules(v), nil
}

func clip(b []byte) []byte { return b[:min(len(b), 24)] }

// readCounter reads one number, and says whose file system it is on; "" if the
// file could not be opened.
func readCounter(root *os.Root, name string) (Microjoules, Source, error) {
	text, source, err := readFile(root, name)
	if err != nil {
		return 0, source, err
	}
	v, err := parseCounter(text)
	return v, source, err
}

func readShort(root *os.Root, name string) (string, error) {
	text, _, err := readFile(root, name)
	return string(text), err
}

func readFile(root *os.Root, name string) ([]byte, Source, error) {
	f, err := root.OpenFile(name, nonblocking, 0) // a FIFO must not hold us up
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	source := sourceOf(f)
	if err := mustBeRegular(f); err != nil {
		return nil, source, err
	}
	var buf [longest + 1]byte
	n, err := io.ReadFull(f, buf[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, source, err
	}
	if n > longest {
		return nil, source, fmt.Errorf("more than %d bytes", longest)
	}
	return buf[:n], source, nil
}

// mustBeRegular refuses what is no regular file: all of sysfs and procfs that is
// read here is.
func mustBeRegular(f *os.File) error {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	return err
}

// openTree opens the directory that is the root of a tree. Where something
// else lies there, such as a FIFO, it is refused and never waited for: the
// path's last component is ".", so the kernel looks for a directory before it
// opens anything.
func openTree(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir + "/.")
	return root, named(err, dir)
}

// openSubtree is openTree below a root.
func openSubtree(root *os.Root, dir string) (*os.Root, error) {
	sub, err := root.OpenRoot(dir + "/.")
	return sub, named(err, dir)
}

// openDir is openTree for a directory to list.
func openDir(root *os.Root, dir string) (*os.File, error) {
	f, err := root.Open(dir + "/.")
	return f, named(err, dir)
}

// named makes err speak of the path that was asked for.
func named(err error, dir string) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return &fs.PathError{Op: e.Op, Path: dir, Err: e.Err}
	}
	return err
}

// treeSource is sourceOf for a directory.
func treeSource(root *os.Root, dir string) Source {
	f, err := openDir(root, dir)
	if err != nil {
		return Simulated
	}
	defer f.Close()
	return sourceOf(f)
}
