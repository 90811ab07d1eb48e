package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"
)

// Config of the credentials. The zero value is good.
type Config struct {
	// NoPeerPidfd identifies as on kernels before 6.5, which have no
	// SO_PEERPIDFD. Such kernels are recognised without it.
	NoPeerPidfd bool
	// Admit, where not nil, may refuse a peer that was identified; what it
	// returns is called when the connection has closed.
	Admit func(Peer) (done func(), err error)
}

// Credentials are a server's gRPC transport credentials: the handshake asks the
// kernel who connected. They work on connections of Listen.
type Credentials struct {
	cfg Config

	mu      sync.Mutex
	refused map[Reason]uint64
}

var _ credentials.TransportCredentials = (*Credentials)(nil)

// New returns credentials, or why this machine cannot identify peers.
func New(cfg Config) (*Credentials, error) {
	if err := ownProc(); err != nil {
		return nil, fmt.Errorf("peers cannot be identified: %w", err)
	}
	fd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("peers cannot be identified: pidfd_open: %w (needs Linux 5.3, and a seccomp filter that allows it)", err)
	}
	_ = unix.Close(fd)
	return &Credentials{cfg: cfg, refused: map[Reason]uint64{}}, nil
}

// Refused counts, by reason, the connections that were refused or lost their
// identity. A peer that exits with its connection open is counted as well; one
// that the listener closed is counted with the next handshake.
func (c *Credentials) Refused() map[Reason]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.refused)
}

func (c *Credentials) count(r Reason) { c.add(r, 1) }

func (c *Credentials) add(r Reason, n uint64) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[r] += n
}

// Identity is the AuthInfo of a connection.
type Identity struct {
	credentials.CommonAuthInfo
	Peer Peer
	conn *conn
}

// AuthType implements credentials.AuthInfo.
func (*Identity) AuthType() string { return "unix-peer" }

// Check says whether the peer still is who it was: it lives, and in the same
// cgroup. It must be asked at each call and before each message of a stream. An
// error is a *Refusal, after which the connection closes, or the context's.
func (i *Identity) Check(ctx context.Context) error { return i.conn.check(ctx) }

// FromContext returns the identity of a call's connection.
func FromContext(ctx context.Context) (*Identity, error) {
	if p, ok := grpcpeer.FromContext(ctx); ok {
		if i, ok := p.AuthInfo.(*Identity); ok {
			return i, nil
		}
	}
	return nil, refuse(Unknown, "the call came over a connection without identity")
}

// ServerHandshake implements credentials.TransportCredentials. Its AuthInfo is
// an *Identity.
func (c *Credentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, ok := raw.(*conn)
	if !ok {
		return nil, nil, fmt.Errorf("peer: a %T was not accepted by a listener of peer.Listen", raw)
	}
	c.add(Crowded, conn.listener.crowded.Swap(0))
	if err := c.identify(conn); err != nil {
		reason := Unknown
		var r *Refusal
		if errors.As(err, &r) {
			reason = r.Reason
		}
		c.count(reason)
		return nil, nil, err // gRPC closes raw
	}
	conn.arrived() // from here on, Config.Admit's bounds hold
	go conn.watch()
	return conn, &Identity{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		Peer:           conn.peer.Peer,
		conn:           conn,
	}, nil
}

func (c *Credentials) identify(conn *conn) error {
	rc, err := conn.unix.SyscallConn()
	if err != nil {
		return refuse(Unknown, "socket: %w", err)
	}
	var p *process
	var holdErr error
	if err := rc.Control(func(fd uintptr) {
		p, holdErr = hold(int(fd), conn.accepted, c.cfg.NoPeerPidfd) // #nosec G115 -- a descriptor
	}); err != nil {
		return refuse(Unknown, "socket: %w", err)
	}
	if holdErr != nil {
		return holdErr
	}
	if c.cfg.Admit != nil {
		done, err := c.cfg.Admit(p.Peer)
		if err != nil {
			p.release()
			return &Refusal{Reason: Crowded, Err: err}
		}
		conn.done = done
	}
	conn.peer, conn.lost = p, c.count
	if p.unproven < 0 {
		close(conn.proven)
	}
	return nil
}

// ClientHandshake implements credentials.TransportCredentials; these
// credentials are the server's.
func (c *Credentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("peer: server credentials; clients use insecure.NewCredentials on the socket")
}

// Info implements credentials.TransportCredentials.
func (c *Credentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix-peer"}
}

// Clone implements credentials.TransportCredentials: there is nothing to set.
func (c *Credentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (c *Credentials) OverrideServerName(string) error { return nil }
