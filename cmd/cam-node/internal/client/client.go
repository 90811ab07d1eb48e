// Package client reaches the node on its unix socket, and says in plain words
// what to do when it does not answer.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// The places where the node's socket is looked for.
const (
	// EnvSocket names the environment variable.
	EnvSocket = "CAM_SOCKET"
	// WorkTreeSocket is that of `make run`, relative to the working directory.
	WorkTreeSocket = "var/cam.sock"
	// SystemSocket is that of the installed service.
	SystemSocket = "/run/cam/cam.sock"
)

// Patience is how long one answer may take.
const Patience = 5 * time.Second

// Find chooses the socket: the flag, $CAM_SOCKET, ./var/cam.sock where it is
// there and belongs to root or the caller, or the installed node's.
func Find(flag string, getenv func(string) string) string {
	if flag != "" {
		return flag
	}
	if s := getenv(EnvSocket); s != "" {
		return s
	}
	// In a folder of somebody else's, a socket could lie about the machine.
	if info, err := os.Stat(WorkTreeSocket); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && (st.Uid == 0 || int(st.Uid) == os.Getuid()) {
			return WorkTreeSocket
		}
	}
	return SystemSocket
}

// Client is a connection to the node. It connects with the first call.
type Client struct {
	camv1.NodeServiceClient
	Operator camv1.OperatorServiceClient

	socket   string
	conn     *grpc.ClientConn
	patience time.Duration // with a full queue

	mu   sync.Mutex
	dial error // of the latest attempt to connect
}

// Open prepares a connection to the node at socket.
func Open(socket string) (*Client, error) {
	path, err := filepath.Abs(socket)
	if err != nil {
		return nil, err
	}
	c := &Client{socket: socket, patience: Patience}
	dialer := func(ctx context.Context, _ string) (net.Conn, error) { return c.connect(ctx, path) }
	// passthrough keeps the path out of URL parsing; the socket's permissions
	// and the kernel's peer credentials stand for TLS.
	c.conn, err = grpc.NewClient("passthrough:///node", grpc.WithContextDialer(dialer), grpc.WithAuthority("localhost"),
		grpc.WithNoProxy(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to %s: %w", socket, err)
	}
	c.NodeServiceClient = camv1.NewNodeServiceClient(c.conn)
	c.Operator = camv1.NewOperatorServiceClient(c.conn)
	return c, nil
}

// connect waits where the socket's queue is full: somebody may be filling it,
// and the node empties it fast (unix(7): a connect that would have to wait ends
// with EAGAIN, since Go's sockets never block).
func (c *Client) connect(ctx context.Context, path string) (net.Conn, error) {
	const pause = 2 * time.Millisecond
	end := time.Now().Add(c.patience)
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		c.mu.Lock()
		c.dial = err
		c.mu.Unlock()
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(end) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Socket is the path as the user knows it.
func (c *Client) Socket() string { return c.socket }

// UnreachableError says that no node answered, or that it cannot now. It is
// what exit code 3 stands for.
type UnreachableError struct {
	Socket string
	// Err is why there is no connection.
	Err error
	// Message is what the node itself said, where there is a connection.
	Message string
}

func (e *UnreachableError) Error() string {
	const start = "start one with `make run` or `systemctl start cam-node`, or name its socket with --socket or $" + EnvSocket
	info, statErr := os.Stat(e.Socket)
	switch {
	case errors.Is(e.Err, syscall.ECONNREFUSED) && statErr == nil && info.Mode()&fs.ModeSocket == 0:
		return fmt.Sprintf("%s is no socket: name the node's with --socket or $%s", e.Socket, EnvSocket)
	case e.Message != "":
		return fmt.Sprintf("the node at %s says: %s", e.Socket, e.Message)
	case errors.Is(e.Err, syscall.EAGAIN):
		return fmt.Sprintf("the node's socket %s is overloaded: too many programs connect to it at once (`ss -xp` shows which); try again", e.Socket)
	case errors.Is(e.Err, errClosed):
		return fmt.Sprintf("the node at %s %v: see its log", e.Socket, e.Err)
	case errors.Is(e.Err, context.DeadlineExceeded):
		return fmt.Sprintf("the node at %s did not answer within %s: see its log", e.Socket, Patience)
	case errors.Is(e.Err, syscall.EINVAL):
		return fmt.Sprintf("%s is too long for a unix socket (at most 107 bytes): name a shorter path with --socket", e.Socket)
	case errors.Is(e.Err, syscall.ENOENT), errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no node answers at %s: %s", e.Socket, start)
	}
	return fmt.Sprintf("no node answers at %s (%v): %s", e.Socket, e.Err, start)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

var errClosed = errors.New("closed the connection")

// PermissionError says that the node, or its socket, refused the caller.
type PermissionError struct {
	Socket string
	Err    error
}

func (e *PermissionError) Error() string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return fmt.Sprintf("permission denied at %s: members of group cam may read (`sudo usermod -aG cam $USER`, then log in again), group cam-admin and root may administer", e.Socket)
	}
	return "the node refused: " + e.Said()
}

// Said is what the node answered; empty when it was not reached.
func (e *PermissionError) Said() string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return ""
	}
	return status.Convert(e.Err).Message()
}

func (e *PermissionError) Unwrap() error { return e.Err }

// InvalidError says that the request made no sense to the node.
type InvalidError struct{ Message string }

func (e *InvalidError) Error() string { return e.Message }

// NotFoundError says that there is no account of a name.
type NotFoundError struct{ Message string }

func (e *NotFoundError) Error() string { return e.Message }

// Explain turns the error of a call into one that says what to do; nil stays
// nil.
func (c *Client) Explain(err error) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	dial := c.dial
	c.mu.Unlock()
	s := status.Convert(err)
	switch s.Code() {
	case codes.Unavailable:
		switch {
		case errors.Is(dial, fs.ErrPermission):
			return &PermissionError{c.socket, dial}
		case dial != nil:
			return &UnreachableError{Socket: c.socket, Err: dial}
		case fromTransport(s.Message()):
			return &UnreachableError{Socket: c.socket, Err: errClosed}
		}
		return &UnreachableError{Socket: c.socket, Message: s.Message()}
	case codes.DeadlineExceeded:
		if errors.Is(dial, syscall.EAGAIN) {
			return &UnreachableError{Socket: c.socket, Err: dial}
		}
		return &UnreachableError{Socket: c.socket, Err: context.DeadlineExceeded}
	case codes.Canceled:
		return context.Canceled
	case codes.PermissionDenied, codes.Unauthenticated:
		return &PermissionError{c.socket, err}
	case codes.InvalidArgument:
		return &InvalidError{s.Message()}
	case codes.NotFound:
		return &NotFoundError{s.Message()}
	case codes.Unimplemented:
		return fmt.Errorf("the node at %s does not know this call: it is older than this program (%s)", c.socket, s.Message())
	}
	return errors.New(s.Message())
}

// Ended explains the end of a stream, which is never a success: the node ends
// it only when it stops.
func (c *Client) Ended(err error) error {
	if errors.Is(err, io.EOF) {
		return &UnreachableError{Socket: c.socket, Err: errClosed}
	}
	return c.Explain(err)
}

// fromTransport tells the messages of gRPC's own client from those of the node
// (internal/transport/http2_client.go): both have code Unavailable.
func fromTransport(message string) bool {
	for _, start := range []string{"error reading from server", "connection error", "transport", "closing transport", "keepalive", "the connection is"} {
		if strings.HasPrefix(message, start) {
			return true
		}
	}
	return false
}
