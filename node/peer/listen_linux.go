package peer

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Connections that were accepted and whose handshake is not over, at most: of
// one uid, and of all but root and the node's own. Connecting and closing costs
// a client less than a handshake costs the node, so that a loop of it would
// otherwise pile up descriptors and goroutines.
const (
	maxWaitingEach = 16
	maxWaiting     = 256
)

// backlog is more than any kernel takes: listen(2) cuts it to
// net.core.somaxconn, which Go cannot read where /proc/sys is hidden.
const backlog = 1 << 16

// Listen listens on a unix socket whose connections Credentials can identify.
// Control, where not nil, sees the socket's descriptor before it is bound. The
// socket file is left alone when the listener closes. A uid with too many
// connections that wait for their handshake has further ones closed at once, so
// that it cannot keep others from the socket.
func Listen(ctx context.Context, path string, control func(fd int) error) (net.Listener, error) {
	lc := net.ListenConfig{Control: onSocket(func(fd int) error {
		// Inherited by what is accepted, so that no data is without its writer.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
			return err
		}
		if control == nil {
			return nil
		}
		return control(fd)
	})}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false)
	if err := onConn(u, func(fd int) error { return unix.Listen(fd, backlog) }); err != nil {
		_ = u.Close()
		return nil, os.NewSyscallError("listen", err)
	}
	return &listener{UnixListener: u, waiting: waiting{each: make(map[uint32]int)}}, nil
}

type listener struct {
	*net.UnixListener
	waiting waiting
	crowded atomic.Uint64 // closed and not yet counted by the credentials
}

// Accept gives the next connection that is within the bounds. It asks only the
// uid, and starts nothing, for those that are not: the queue must shrink faster
// than a loop of connects fills it.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		at, err := boottime()
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		var who *unix.Ucred
		if err := onConn(c, func(fd int) (err error) {
			who, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
			return err
		}); err != nil {
			_ = c.Close() // one connection's trouble, and not the listener's
			continue
		}
		if !l.waiting.enter(who.Uid) {
			l.crowded.Add(1)
			_ = c.Close()
			continue
		}
		return &conn{
			Conn: c, unix: c, accepted: at, oob: make([]byte, oobSize), patience: proofTime,
			arrived: sync.OnceFunc(func() { l.waiting.leave(who.Uid) }), listener: l,
			proven: make(chan struct{}), closed: make(chan struct{}),
		}, nil
	}
}

// waiting counts the connections whose handshake is not over.
type waiting struct {
	mu     sync.Mutex
	each   map[uint32]int
	others int // all but the trusted
}

// trusted uids have no part in the common bound, and as much room alone: agents
// may run as root.
func trusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() && uid != overflow }

func (w *waiting) enter(uid uint32) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if trusted(uid) {
		if w.each[uid] >= maxWaiting {
			return false
		}
	} else {
		if w.each[uid] >= maxWaitingEach || w.others >= maxWaiting {
			return false
		}
		w.others++
	}
	w.each[uid]++
	return true
}

func (w *waiting) leave(uid uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.each[uid]--; w.each[uid] == 0 {
		delete(w.each, uid)
	}
	if !trusted(uid) {
		w.others--
	}
}

// onConn runs f on a socket's descriptor.
func onConn(c syscall.Conn, f func(fd int) error) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return onSocket(f)("", "", rc)
}

// onSocket adapts to net.ListenConfig.Control.
func onSocket(f func(fd int) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, rc syscall.RawConn) error {
		var ferr error
		err := rc.Control(func(fd uintptr) { ferr = f(int(fd)) }) // #nosec G115 -- a descriptor
		return errors.Join(err, ferr)
	}
}
