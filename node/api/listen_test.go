package api

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/node/peer"
)

func TestListen(t *testing.T) {
	needRoot(t)
	path := filepath.Join(folder(t), "run", "cam", "cam.sock")
	readers := func(string) (peer.Group, error) { return testReaders, nil }
	l, err := listen(path, readers)
	must(t, err)
	fi, err := os.Stat(path)
	must(t, err)
	if st := fi.Sys().(*syscall.Stat_t); fi.Mode().Perm() != 0o666 || st.Uid != 0 || l.Note != "" {
		t.Errorf("%v, uid %d, %q", fi.Mode(), st.Uid, l.Note)
	}
	if fi, err := os.Stat(filepath.Dir(path)); err != nil || fi.Mode().Perm()&0o022 != 0 {
		t.Errorf("%v, %v", fi, err)
	}
	_, err = listen(path, readers)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("a second node: %v", err)
	}
	must(t, l.Close())
	must(t, l.Close())
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
	for _, lookup := range []func(string) (peer.Group, error){
		func(n string) (peer.Group, error) { return peer.Group{Name: n}, nil },
		func(n string) (peer.Group, error) { return peer.Group{}, errors.New("no /etc/group") },
	} {
		l, err := listen(path, lookup)
		must(t, err)
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o666 || !strings.Contains(l.Note, "only agents, root and uid 0 may call") {
			t.Errorf("%v, %v, %q", fi, err, l.Note)
		}
		must(t, l.Close())
	}
}

func TestListenBadPaths(t *testing.T) {
	dir := folder(t)
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, []byte("precious"), 0o600))
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(file, link))
	for path, says := range map[string]string{
		"":     "no path",
		"@cam": "abstract",
		filepath.Join(dir, strings.Repeat("x", 107)): "choose a shorter --socket",
		file:                        "no socket: remove it",
		link:                        "no socket: remove it",
		dir:                         "no socket: remove it",
		filepath.Join(file, "sock"): "not a directory",
	} {
		l, err := Listen(path)
		if err == nil {
			_ = l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", path, err, says)
		}
	}
	if b, err := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file is gone", err)
	}
	// The longest there may be.
	long := filepath.Join(dir, strings.Repeat("x", maxPath-len(dir)-1))
	l, err := Listen(long)
	must(t, err)
	must(t, l.Close())
}

func TestListenAfterACrash(t *testing.T) {
	path := filepath.Join(folder(t), "sock")
	// What a killed node leaves.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	dead.SetUnlinkOnClose(false)
	must(t, dead.Close())
	l, err := Listen(path)
	must(t, err)
	must(t, l.Close())

	// Another program's socket, which knows nothing of our lock.
	other, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("another program's: %v", err)
	}
	must(t, other.Close())

	// One whose queue is full.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	must(t, unix.Listen(fd, 0))
	first := dial(t, path)
	defer first.Close()
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("a full queue: %v", err)
	}
}

// A socket that somebody put in the place of ours is not removed with it.
func TestCloseLeavesOthers(t *testing.T) {
	path := filepath.Join(folder(t), "sock")
	l, err := Listen(path)
	must(t, err)
	must(t, os.Remove(path))
	other, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	defer other.Close()
	must(t, l.Close())
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestServeNeedsItsListener(t *testing.T) {
	if _, err := NewServer(Config{}); err == nil {
		t.Error("a server without a node")
	}
	s, err := NewServer(Config{Node: &board{}})
	must(t, err)
	l, err := Listen(filepath.Join(folder(t), "sock"))
	must(t, err)
	must(t, l.Listener.Close())
	defer l.Close()
	if err := s.Serve(context.Background(), l); err == nil {
		t.Error("serving on a closed listener")
	}
}
