package client

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
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// serve answers every call with err on a real socket.
func serve(t *testing.T, err error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cam.sock")
	l, lerr := net.Listen("unix", path)
	if lerr != nil {
		t.Fatal(lerr)
	}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return err }))
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return path
}

func call(t *testing.T, socket string) error {
	t.Helper()
	c, err := Open(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if c.Socket() != socket {
		t.Errorf("socket is %s", c.Socket())
	}
	_, err = c.Observe(t.Context(), &camv1.ObserveRequest{})
	return c.Explain(err)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	for name, c := range map[string]struct {
		socket string
		away   bool
		want   string
	}{
		"no socket":    {filepath.Join(dir, "none"), true, "start one with `make run` or `systemctl start cam-node`"},
		"dead socket":  {dead, true, "no node answers at " + dead + ": start one"},
		"long path":    {filepath.Join(dir, strings.Repeat("x", 120)), true, "too long for a unix socket"},
		"not yet":      {serve(t, status.Error(codes.Unavailable, "the node has not measured yet")), true, "says: the node has not measured yet"},
		"slow":         {serve(t, status.Error(codes.DeadlineExceeded, "")), true, "did not answer within 5s"},
		"refused":      {serve(t, status.Error(codes.PermissionDenied, "uid 7 may only read: usermod -aG cam-admin USER")), false, "the node refused: uid 7 may only read"},
		"unknown peer": {serve(t, status.Error(codes.Unauthenticated, "it ended")), false, "the node refused: it ended"},
		"old node":     {serve(t, status.Error(codes.Unimplemented, "unknown method")), false, "older than this program"},
		"no account":   {serve(t, status.Error(codes.NotFound, "no account is called x")), false, "no account is called x"},
		"bad name":     {serve(t, status.Error(codes.InvalidArgument, "bad name")), false, "bad name"},
	} {
		t.Run(name, func(t *testing.T) {
			err := call(t, c.socket)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			var away *UnreachableError
			if errors.As(err, &away) != c.away {
				t.Errorf("unreachable is %v", !c.away)
			}
		})
	}
	if err := call(t, serve(t, status.Error(codes.Canceled, ""))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAConnectionThatBreaks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cam.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{})
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		close(called)
		<-stream.Context().Done()
		return nil
	}))
	go func() { _ = s.Serve(l) }()
	go func() {
		<-called
		s.Stop()
	}()
	err = call(t, path)
	var away *UnreachableError
	if !errors.As(err, &away) || !strings.Contains(err.Error(), "closed the connection: see its log") {
		t.Errorf("got %v", err)
	}
}

func TestTheEndOfAStreamIsNoSuccess(t *testing.T) {
	c, err := Open(serve(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	s, err := c.ObserveStream(t.Context(), &camv1.ObserveStreamRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	var away *UnreachableError
	if err := c.Ended(err); !errors.As(err, &away) {
		t.Errorf("got %v", err)
	}
	if err := c.Explain(nil); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestPermissionNamesTheGroup(t *testing.T) {
	err := &PermissionError{"/run/cam/cam.sock", fs.ErrPermission}
	if !strings.Contains(err.Error(), "usermod -aG cam") || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
	c := &Client{socket: "x", dial: &net.OpError{Op: "dial", Err: fs.ErrPermission}}
	var denied *PermissionError
	if err := c.Explain(status.Error(codes.Unavailable, "connection error")); !errors.As(err, &denied) {
		t.Errorf("got %v", err)
	}
	odd := &UnreachableError{Socket: "x", Err: errors.New("odd")}
	if !strings.Contains(odd.Error(), "(odd)") {
		t.Errorf("got %v", odd)
	}
}

func TestFind(t *testing.T) {
	t.Chdir(t.TempDir())
	env := map[string]string{}
	getenv := func(k string) string { return env[k] }
	if got := Find("", getenv); got != SystemSocket {
		t.Errorf("got %s", got)
	}
	if err := os.Mkdir("var", 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(WorkTreeSocket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Find("", getenv); got != SystemSocket {
		t.Errorf("a plain file was taken for a socket: %s", got)
	}
	_ = os.Remove(WorkTreeSocket)
	l, err := net.Listen("unix", WorkTreeSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if got := Find("", getenv); got != WorkTreeSocket {
		t.Errorf("got %s", got)
	}
	if os.Getuid() == 0 {
		if err := os.Lchown(WorkTreeSocket, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if got := Find("", getenv); got != SystemSocket {
			t.Errorf("a stranger's socket was trusted: %s", got)
		}
	}
	env[EnvSocket] = "/from/env"
	if got := Find("", getenv); got != "/from/env" {
		t.Errorf("got %s", got)
	}
	if got := Find("/from/flag", getenv); got != "/from/flag" {
		t.Errorf("got %s", got)
	}
}

// full gives a socket whose queue is full.
func full(t *testing.T) (string, net.Listener) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cam.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	rc, err := l.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := rc.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 1) }); err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	for range 100 {
		c, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			return path, l
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	t.Fatal("the queue has no end")
	return "", nil
}

func TestAFullQueue(t *testing.T) {
	path, l := full(t)
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	c.patience = 50 * time.Millisecond
	observe := func(ctx context.Context) error {
		_, err := c.Observe(ctx, &camv1.ObserveRequest{})
		return c.Explain(err)
	}
	overloaded := func(err error) {
		t.Helper()
		var away *UnreachableError
		if !errors.As(err, &away) || !strings.Contains(err.Error(), "is overloaded") {
			t.Errorf("got %v", err)
		}
	}
	overloaded(observe(t.Context()))

	patient, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = patient.Close() }()
	c = patient
	// The call's own end comes first.
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	overloaded(observe(short))
	// It is still waiting when the node gets to it.
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		return status.Error(codes.InvalidArgument, "answered")
	}))
	defer s.Stop()
	go func() { _ = s.Serve(l) }()
	if err := observe(t.Context()); err == nil || err.Error() != "answered" {
		t.Errorf("got %v", err)
	}
}
