package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// conn is an accepted connection, and after the handshake one with an identity.
// It is the same value before and after, so that whoever closes it closes all
// of it. It embeds the interface and not the UnixConn, whose other methods
// would read past Read.
type conn struct {
	net.Conn
	unix     *net.UnixConn
	accepted time.Duration // CLOCK_BOOTTIME
	patience time.Duration // for a proof
	oob      []byte
	read     int
	listener *listener
	arrived  func() // it waits for its handshake no longer; may be called again

	// Set by the handshake.
	peer *process
	lost func(Reason) // counts
	done func()       // gives back what was admitted; may be nil

	// proven is closed once the peer has shown that it holds the connection.
	proven  chan struct{}
	refusal atomic.Pointer[Refusal] // why the identity was lost: for good
	closing sync.Once
	closed  chan struct{}
}

// oobSize has room for one writer and nothing else, so that descriptors sent
// along are dropped by the kernel, which puts the writer first (net/core/scm.c,
// __scm_recv_common).
var oobSize = unix.CmsgSpace(unix.SizeofUcred)

// Read reads what the peer wrote. What anybody else wrote is an error and
// closes the connection. One read never mixes writers (net/unix/af_unix.c,
// unix_stream_read_generic). It must not be called concurrently.
func (c *conn) Read(b []byte) (int, error) {
	if c.peer == nil {
		return 0, refuse(Unknown, "nobody reads before it is known who writes")
	}
	if len(b) == 0 {
		return 0, nil
	}
	n, oobn, flags, _, err := c.unix.ReadMsgUnix(b, c.oob)
	if errors.Is(err, io.EOF) || err == nil && n == 0 {
		return 0, io.EOF // bare, as readers expect it
	}
	if err != nil {
		return 0, err
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return 0, c.lose(refuse(Passed, "process %d sent descriptors", c.peer.PID))
	}
	pid, err := writer(c.oob[:oobn])
	if err != nil {
		return 0, c.lose(refuse(Unknown, "who wrote: %w", err))
	}
	if pid != c.peer.PID {
		return 0, c.lose(refuse(Passed, "process %d uses a connection of process %d", pid, c.peer.PID))
	}
	if before := c.read; before <= c.peer.unproven && before+n > c.peer.unproven {
		close(c.proven)
	}
	c.read += n
	return n, nil
}

// writer is the process that wrote what came with a control message.
func writer(oob []byte) (int, error) {
	h, data, _, err := unix.ParseOneSocketControlMessage(oob)
	if err != nil {
		return 0, err
	}
	cred, err := unix.ParseUnixCredentials(&unix.SocketControlMessage{Header: h, Data: data})
	if err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// check says whether the peer still is who it was, and closes the connection
// when not.
func (c *conn) check(ctx context.Context) error {
	if r := c.refusal.Load(); r != nil {
		return r
	}
	select {
	case <-c.proven:
	default:
		select {
		case <-c.proven:
		case <-c.closed:
			return refuse(Exited, "the connection is closed")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(c.patience):
			return c.lose(refuse(Unproven, "process %d did not show that the connection is its own", c.peer.PID))
		}
	}
	if err := c.peer.check(); err != nil {
		var r *Refusal
		if errors.As(err, &r) {
			return c.lose(r)
		}
		return err
	}
	return nil
}

// proofTime is how long a client may take to acknowledge the settings.
const proofTime = 5 * time.Second

// lastWords is how long a connection stays open after its identity was lost:
// every further call is refused, and the refusal can still be sent.
const lastWords = 200 * time.Millisecond

// lose notes and counts why the identity went, and closes the connection. It
// returns the first reason.
func (c *conn) lose(r *Refusal) *Refusal {
	if !c.refusal.CompareAndSwap(nil, r) {
		return c.refusal.Load()
	}
	select {
	case <-c.closed: // an ordinary end
		return r
	default:
	}
	c.lost(r.Reason)
	if r.Reason == Exited || r.Reason == Passed {
		_ = c.Close()
	} else {
		time.AfterFunc(lastWords, func() { _ = c.Close() })
	}
	return r
}

// Close closes the connection and lets go of the peer.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.closing.Do(func() {
		err = c.Conn.Close()
		close(c.closed)
		c.arrived()
		if c.peer != nil {
			c.peer.release()
		}
		if c.done != nil {
			c.done()
		}
	})
	return err
}

// watch closes the connection when the peer exits.
func (c *conn) watch() {
	if c.peer.wait() {
		_ = c.lose(refuse(Exited, "process %d has exited", c.peer.PID))
	}
}
