package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	grpcpeer "google.golang.org/grpc/peer"
)

func open(cfg Config, path string) (*Credentials, net.Listener, error) {
	c, err := New(cfg)
	if err != nil {
		return nil, nil, err
	}
	l, err := Listen(context.Background(), path, nil)
	return c, l, err
}

func havePeerPidfd(c *conn) bool {
	have := false
	rc, _ := c.unix.SyscallConn()
	_ = rc.Control(func(fd uintptr) {
		pidfd, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		have = !errors.Is(err, unix.ENOPROTOOPT)
		if err == nil {
			_ = unix.Close(pidfd)
		}
	})
	return have
}

func wantReason(err error, want Reason) error {
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != want {
		return fmt.Errorf("got %v, want a refusal because of %s", err, want)
	}
	return nil
}

// both runs a test as on new and on old kernels.
func both(t *testing.T, f func(t *testing.T, cfg Config)) {
	t.Helper()
	t.Run("pidfd", func(t *testing.T) { f(t, Config{}) })
	t.Run("fallback", func(t *testing.T) { f(t, Config{NoPeerPidfd: true}) })
}

// connected is a program's connection, seen from the node.
type connected struct {
	creds *Credentials
	dir   string
	net.Conn
	*Identity
}

// meet connects a program and identifies it; the program has written "hello"
// after its identity was held.
func meet(t *testing.T, cfg Config, p *program) *connected {
	t.Helper()
	c := &connected{dir: folder(t)}
	var l net.Listener
	var err error
	c.creds, l, err = open(cfg, filepath.Join(c.dir, "node"))
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	must(t, os.Chmod(filepath.Join(c.dir, "node"), 0o666))
	must(t, p.do("connect %s", filepath.Join(c.dir, "node")))
	raw, err := l.Accept()
	must(t, err)
	t.Cleanup(func() { _ = raw.Close() })
	conn, info, err := c.creds.ServerHandshake(raw)
	must(t, err)
	c.Conn, c.Identity = conn, info.(*Identity)
	must(t, p.do("write hello"))
	c.reads(t, "hello")
	must(t, c.Check(t.Context()))
	return c
}

func (c *connected) reads(t *testing.T, want string) {
	t.Helper()
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil || string(b[:n]) != want {
		t.Fatalf("read %q, %v, want %q", b[:n], err, want)
	}
}

func (c *connected) refused(t *testing.T, want Reason) {
	t.Helper()
	must(t, wantReason(c.Check(t.Context()), want))
	if got := c.creds.Refused(); got[want] != 1 {
		t.Errorf("counted %v, want one %s", got, want)
	}
}

// closes waits for the connection to be closed by the node.
func (c *connected) closes(t *testing.T) {
	t.Helper()
	select {
	case <-c.conn.closed:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection stays open")
	}
	if _, err := c.Conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing: %v", err)
	}
}

func TestWhoConnects(t *testing.T) {
	both(t, func(t *testing.T, cfg Config) {
		dir, path := leaf(t)
		p := run(t, dir)
		// More groups than fit at first.
		groups, list := []uint32{}, ""
		for g := range uint32(100) {
			groups = append(groups, 4000+g)
			list += fmt.Sprintf("%d,", 4000+g)
		}
		must(t, p.do("become 4321 4322 %s", list[:len(list)-1]))
		c := meet(t, cfg, p)
		got := c.Peer
		slices.Sort(got.Groups)
		if got.PID != p.cmd.Process.Pid || got.UID != 4321 || got.GID != 4322 || !slices.Equal(got.Groups, groups) || got.Cgroup != path {
			t.Errorf("got %+v", got)
		}
		now, err := boottime()
		must(t, err)
		if age := now - got.StartTime; age < 0 || age > time.Minute {
			t.Errorf("started %v ago", age)
		}
		if !got.In(4322) || !got.In(4099) || got.In(4100) || got.In(0) {
			t.Error("membership")
		}
	})
}

// An ordinary user's node identifies ordinary users.
func TestSelf(t *testing.T) {
	both(t, func(t *testing.T, cfg Config) {
		p := run(t, "")
		c := meet(t, cfg, p)
		if c.Peer.UID != uint32(os.Geteuid()) || c.Peer.PID != p.cmd.Process.Pid || c.AuthType() != "unix-peer" {
			t.Errorf("got %+v", c.Peer)
		}
		if n := c.creds.Refused(); len(n) != 0 {
			t.Errorf("refused %v", n)
		}
	})
}

func TestExit(t *testing.T) {
	both(t, func(t *testing.T, cfg Config) {
		p := run(t, "")
		c := meet(t, cfg, p)
		must(t, p.end())
		c.closes(t)
		must(t, wantReason(c.Check(t.Context()), Exited))
	})
}

// The process that was given the socket is in no way the one that connected:
// not while that lives, and not after.
func TestPassedOn(t *testing.T) {
	both(t, func(t *testing.T, cfg Config) {
		t.Run("used", func(t *testing.T) {
			dir, _ := leaf(t)
			p, other := run(t, ""), run(t, dir)
			c := meet(t, cfg, p)
			must(t, passOn(p, other, filepath.Join(c.dir, "pass")))
			must(t, other.do("write stolen"))
			if n, err := c.Read(make([]byte, 100)); n != 0 || wantReason(err, Passed) != nil {
				t.Errorf("read %d, %v", n, err)
			}
			c.closes(t)
			if got := c.creds.Refused(); got[Passed] != 1 {
				t.Errorf("counted %v", got)
			}
		})
		t.Run("kept", func(t *testing.T) {
			p, other := run(t, ""), run(t, "")
			c := meet(t, cfg, p)
			must(t, passOn(p, other, filepath.Join(c.dir, "pass")))
			must(t, p.end())
			c.closes(t)
			if got := c.creds.Refused(); got[Exited] != 1 {
				t.Errorf("counted %v", got)
			}
		})
		t.Run("before the accept", func(t *testing.T) {
			p, other := run(t, ""), run(t, "")
			dir := folder(t)
			creds, l, err := open(cfg, filepath.Join(dir, "node"))
			must(t, err)
			defer l.Close()
			must(t, p.do("connect %s", filepath.Join(dir, "node")))
			must(t, passOn(p, other, filepath.Join(dir, "pass")))
			must(t, p.end())
			raw, err := l.Accept()
			must(t, err)
			defer raw.Close()
			_, _, err = creds.ServerHandshake(raw)
			must(t, wantReason(err, Exited))
			if got := creds.Refused(); got[Exited] != 1 {
				t.Errorf("counted %v", got)
			}
		})
	})
}

func TestMove(t *testing.T) {
	both(t, func(t *testing.T, cfg Config) {
		first, _ := leaf(t)
		second, _ := leaf(t)
		p := run(t, first)
		c := meet(t, cfg, p)
		must(t, p.do("move %s", second))
		c.refused(t, Moved)
		// Back again: what is lost stays lost.
		must(t, p.do("move %s", first))
		c.refused(t, Moved)
		c.closes(t)
		if c.Check(t.Context()) == nil {
			t.Error("a closed connection has an identity")
		}
	})
}

func TestDescriptorsAreDropped(t *testing.T) {
	both(t, func(t *testing.T, cfg Config) {
		p := run(t, "")
		c := meet(t, cfg, p)
		before := descriptors(t)
		must(t, p.do("write-with-descriptors take-these"))
		if n, err := c.Read(make([]byte, 100)); n != 0 || wantReason(err, Passed) != nil {
			t.Errorf("read %d, %v", n, err)
		}
		// The connection's own three are closed.
		if after := descriptors(t); after > before {
			t.Errorf("%d descriptors, before %d", after, before)
		}
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(d)
}

func TestNothingLeaks(t *testing.T) {
	both(t, func(t *testing.T, cfg Config) {
		dir := folder(t)
		admitted := 0
		cfg.Admit = func(Peer) (func(), error) {
			if admitted == 3 {
				return nil, errors.New("three are enough")
			}
			admitted++
			return func() { admitted-- }, nil
		}
		creds, l, err := open(cfg, filepath.Join(dir, "node"))
		must(t, err)
		defer l.Close()
		before := descriptors(t)
		for range 20 {
			c, err := dial(filepath.Join(dir, "node"))
			must(t, err)
			raw, err := l.Accept()
			must(t, err)
			id, _, err := creds.ServerHandshake(raw)
			must(t, err)
			if admitted != 1 {
				t.Fatalf("%d admitted", admitted)
			}
			must(t, c.Close())
			if _, err := id.Read(make([]byte, 1)); err != io.EOF {
				t.Error(err)
			}
			must(t, raw.Close()) // as gRPC does when the preface is bad
			if id.Close() == nil {
				t.Error("closed twice")
			}
		}
		if admitted != 0 {
			t.Errorf("%d still admitted", admitted)
		}
		admitted = 3
		c, err := dial(filepath.Join(dir, "node"))
		must(t, err)
		defer c.Close()
		raw, err := l.Accept()
		must(t, err)
		_, _, err = creds.ServerHandshake(raw)
		must(t, wantReason(err, Crowded))
		if _, err := raw.Read(make([]byte, 1)); err == nil {
			t.Error("a refused connection can be read")
		}
		must(t, raw.Close())
		must(t, c.Close())
		if after := descriptors(t); after > before {
			t.Errorf("%d descriptors, before %d", after, before)
		}
		if got := creds.Refused(); len(got) != 1 || got[Crowded] != 1 {
			t.Errorf("counted %v", got)
		}
	})
}

// A client that never answers has no identity on old kernels.
func TestUnproven(t *testing.T) {
	p := run(t, "")
	dir := folder(t)
	creds, l, err := open(Config{NoPeerPidfd: true}, filepath.Join(dir, "node"))
	must(t, err)
	defer l.Close()
	must(t, p.do("connect %s", filepath.Join(dir, "node")))
	must(t, p.do("write early"))
	raw, err := l.Accept()
	must(t, err)
	defer raw.Close()
	c, info, err := creds.ServerHandshake(raw)
	must(t, err)
	id := info.(*Identity)
	short := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		return id.Check(ctx)
	}
	b := make([]byte, 4)
	for _, want := range []string{"earl", "y"} {
		if n, err := c.Read(b); err != nil || string(b[:n]) != want {
			t.Fatal(string(b[:n]), err)
		}
		if err := short(); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("early data proves: %v", err)
		}
	}
	if _, err := FromContext(grpcpeer.NewContext(t.Context(), &grpcpeer.Peer{AuthInfo: id})); err != nil {
		t.Error(err)
	}
	must(t, p.do("write late"))
	_, err = c.Read(b)
	must(t, err)
	must(t, short())
}

func TestSilent(t *testing.T) {
	p := run(t, "")
	dir := folder(t)
	creds, l, err := open(Config{NoPeerPidfd: true}, filepath.Join(dir, "node"))
	must(t, err)
	defer l.Close()
	must(t, p.do("connect %s", filepath.Join(dir, "node")))
	raw, err := l.Accept()
	must(t, err)
	defer raw.Close()
	raw.(*conn).patience = time.Millisecond
	_, info, err := creds.ServerHandshake(raw)
	must(t, err)
	c := connected{creds: creds, Conn: raw, Identity: info.(*Identity)}
	c.refused(t, Unproven)
	if err := c.Check(t.Context()); !strings.Contains(err.Error(), fmt.Sprint(p.cmd.Process.Pid)) {
		t.Error(err)
	}
	c.closes(t)
}

func TestMainThreadExited(t *testing.T) {
	both(t, func(t *testing.T, cfg Config) {
		p := run(t, "")
		dir := folder(t)
		creds, l, err := open(cfg, filepath.Join(dir, "node"))
		must(t, err)
		defer l.Close()
		must(t, p.do("connect %s", filepath.Join(dir, "node")))
		raw, err := l.Accept()
		must(t, err)
		defer raw.Close()
		// Only when the main thread runs the goroutine; else another thread ends
		// and the peer is sound.
		must(t, p.send("end-main-thread"))
		time.Sleep(100 * time.Millisecond)
		_, _, err = creds.ServerHandshake(raw)
		stat, readErr := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		must(t, readErr)
		if state, _, _ := startTime(stat); state == 'Z' {
			must(t, wantReason(err, Exited))
		} else {
			must(t, err)
		}
	})
}

func TestOnlyItsOwnConnections(t *testing.T) {
	c, err := New(Config{})
	must(t, err)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, _, err := c.ServerHandshake(a); err == nil {
		t.Error("a pipe has an identity")
	}
	if _, _, err := c.ClientHandshake(t.Context(), "", a); err == nil {
		t.Error("clients have credentials")
	}
	if _, err := FromContext(t.Context()); wantReason(err, Unknown) != nil {
		t.Error(err)
	}
	if c.Clone() != c || c.OverrideServerName("x") != nil || c.Info().SecurityProtocol != "unix-peer" {
		t.Error("gRPC's odds and ends")
	}
}
