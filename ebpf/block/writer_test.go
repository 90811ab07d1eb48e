package block

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// chunk is how much is written at once.
const chunk = 256 << 10

// play is a child's part: HOW,FILE,BYTES. It writes a file, direct, buffered
// and synced, or buffered and left dirty.
func play(role string) error {
	f := strings.Split(role, ",")
	n, err := strconv.Atoi(f[2])
	if err != nil {
		return err
	}
	return write(f[0], f[1], n)
}

func write(how, name string, n int) (err error) {
	flags := os.O_CREATE | os.O_WRONLY
	if how == "direct" {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := aligned(chunk)
	for i := range buf {
		buf[i] = byte(i)
	}
	for left := n; left > 0; left -= chunk {
		if _, err := f.Write(buf[:min(left, chunk)]); err != nil {
			return err
		}
	}
	if how == "dirty" {
		return nil
	}
	return f.Sync()
}

// read reads a whole file past the page cache.
func read(t testing.TB, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for buf := aligned(chunk); ; {
		if n, err := f.Read(buf); n == 0 {
			if err == nil || err.Error() != "EOF" {
				t.Fatal(err)
			}
			return
		}
	}
}

// aligned is a buffer that O_DIRECT takes.
func aligned(n int) []byte {
	b := make([]byte, n+4096)
	at := -int(uintptr(unsafe.Pointer(&b[0]))) & 4095
	return b[at : at+n]
}
