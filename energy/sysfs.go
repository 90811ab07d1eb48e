package energy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	f, err := openNonblocking(root, name) // a FIFO must not hold us up
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	source := sourceOf(f)
	if info, err := f.Stat(); err != nil {
		return nil, source, err
	} else if !info.Mode().IsRegular() {
		return nil, source, errors.New("not a regular file")
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

// treeSource is sourceOf for a directory.
func treeSource(root *os.Root, dir string) Source {
	f, err := root.Open(dir)
	if err != nil {
		return Simulated
	}
	defer f.Close()
	return sourceOf(f)
}
