package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/node/peer"
)

// maxPath is what sockaddr_un holds, less the final zero byte (unix(7)).
const maxPath = 107

// Listener is the node's socket.
type Listener struct {
	net.Listener
	path string
	lock *os.File
	made fs.FileInfo
	once sync.Once
	err  error
	// Note says who may call, where that is less than could be expected.
	Note string
}

// Listen makes the node's socket. Everybody may connect, since agents run under
// any uid; who may call what is decided by the kernel's word about the caller,
// and strangers are refused with the reason. The folder is made when missing. A socket
// that a dead node left is replaced; one that answers, and a file that is no
// socket, are errors and stay. A lock beside the socket keeps two nodes that
// start together apart; it stays when the listener closes.
func Listen(path string) (*Listener, error) {
	return listen(path, peer.LookupGroup)
}

func listen(path string, lookup func(string) (peer.Group, error)) (_ *Listener, err error) {
	switch {
	case path == "":
		return nil, errors.New("socket: no path")
	case path[0] == '@' || path[0] == 0:
		return nil, fmt.Errorf("socket %q: an abstract socket has no permissions: give a path", path)
	case len(path) > maxPath:
		return nil, fmt.Errorf("socket %s: the path has %d bytes, the kernel takes %d: choose a shorter --socket", path, len(path), maxPath)
	}
	// Before there is a lock beside something that is not ours.
	if _, err := exists(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // #nosec G301 -- agents of other users must reach the socket
		return nil, fmt.Errorf("socket: %w", err)
	}
	l := &Listener{path: path}
	if l.lock, err = lock(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = l.lock.Close()
		}
	}()
	if err := unlinkDead(path); err != nil {
		return nil, err
	}
	// The mode is the file's from its first moment on (unix_bind takes it from
	// the socket's inode).
	l.Listener, err = peer.Listen(context.Background(), path, func(fd int) error { return unix.Fchmod(fd, 0o600) })
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = l.Listener.Close()
			_ = os.Remove(path)
		}
	}()
	if l.made, err = os.Lstat(path); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	return l, l.open(lookup)
}

// open lets everybody connect.
func (l *Listener) open(lookup func(string) (peer.Group, error)) error {
	if err := os.Chmod(l.path, 0o666); err != nil { // #nosec G302 -- callers are told apart by the kernel, not by the file's mode
		return fmt.Errorf("socket: %w", err)
	}
	g, err := lookup(ReaderGroup)
	switch {
	case err != nil:
		l.Note = fmt.Sprintf("only agents, root and uid %d may call: %v", os.Geteuid(), err)
	case !g.Exists:
		l.Note = fmt.Sprintf("only agents, root and uid %d may call: there is no group %s (groupadd --system %s, then restart the node)", os.Geteuid(), ReaderGroup, ReaderGroup)
	}
	return nil
}

// lock takes the lock that a node holds for as long as it has the socket.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600) // #nosec G304 -- the configured path
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { // #nosec G115 -- a descriptor
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, inUse(path)
		}
		return nil, fmt.Errorf("socket: locking %s.lock: %w", path, err)
	}
	return f, nil
}

// exists says whether there is a socket; another kind of file is an error.
func exists(path string) (bool, error) {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("socket: %w", err)
	case fi.Mode().Type() != fs.ModeSocket:
		return false, fmt.Errorf("socket %s: there is a file that is no socket: remove it, or choose another --socket", path)
	}
	return true, nil
}

// unlinkDead removes a socket that nobody answers on.
func unlinkDead(path string) error {
	if there, err := exists(path); !there {
		return err
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = c.Close()
		return inUse(path)
	case errors.Is(err, unix.ECONNREFUSED):
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("socket: removing what a dead node left: %w", err)
		}
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.EAGAIN): // its queue is full: somebody is there
		return inUse(path)
	}
	return fmt.Errorf("socket %s: whether a node uses it cannot be found out: %w", path, err)
}

// ErrInUse: another node, or another program, has the socket.
var ErrInUse = errors.New("already in use by another node")

func inUse(path string) error {
	return fmt.Errorf("socket %s: %w: stop it, or choose another --socket", path, ErrInUse)
}

// Close stops listening and removes the socket, if it still is this one.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.err = l.Listener.Close()
		if fi, err := os.Lstat(l.path); err == nil && os.SameFile(fi, l.made) {
			l.err = errors.Join(l.err, os.Remove(l.path))
		}
		l.err = errors.Join(l.err, l.lock.Close())
	})
	return l.err
}
