package peer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the test program does with many connections.

func dialMany(path, number string) (many []*net.UnixConn, _ error) {
	n, err := strconv.Atoi(number)
	for range n {
		c, derr := dial(path)
		if derr != nil {
			return many, derr
		}
		many = append(many, c)
	}
	return many, err
}

// countOpen waits for the node to close all but so many.
func countOpen(many []*net.UnixConn, number string) error {
	end := time.Now().Add(10 * time.Second)
	for {
		open := 0
		for _, c := range many {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				open++
			}
		}
		if strconv.Itoa(open) == number {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d are open", open)
		}
	}
}

// flood connects and closes, without a pause.
func flood(path, number string) error {
	n, err := strconv.Atoi(number)
	a := &unix.SockaddrUnix{Name: path}
	for range n {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		_ = unix.Connect(fd, a) // a full queue is what it is after
		_ = unix.Close(fd)
	}
	return err
}

func become4321(t *testing.T) *program {
	t.Helper()
	needRoot(t)
	p := run(t, "")
	must(t, p.do("become 4321 4321 4321"))
	return p
}

func listenOpen(t *testing.T) (*Credentials, net.Listener, string) {
	t.Helper()
	path := filepath.Join(folder(t), "node")
	creds, l, err := open(Config{}, path)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	must(t, os.Chmod(path, 0o666))
	return creds, l, path
}

func TestOneUserWaitsWithFewConnections(t *testing.T) {
	p := become4321(t)
	creds, l, path := listenOpen(t)
	must(t, p.do("connect-many %s %d", path, 3*maxWaitingEach))
	var raws []net.Conn
	for range maxWaitingEach {
		raw, err := l.Accept()
		must(t, err)
		defer raw.Close()
		raws = append(raws, raw)
	}
	// The rest of them is closed on the way to somebody else's.
	c, err := dial(path)
	must(t, err)
	defer c.Close()
	raw, err := l.Accept()
	must(t, err)
	defer raw.Close()
	must(t, p.do("count-open %d", maxWaitingEach))
	_, info, err := creds.ServerHandshake(raw)
	must(t, err)
	if uid := info.(*Identity).Peer.UID; uid != 0 {
		t.Errorf("uid %d", uid)
	}
	if n := creds.Refused()[Crowded]; n != 2*maxWaitingEach {
		t.Errorf("%d counted", n)
	}
	// A handshake and a close make room.
	_, _, err = creds.ServerHandshake(raws[0])
	must(t, err)
	must(t, raws[1].Close())
	must(t, p.do("connect-many %s 3", path))
	for range 2 {
		raw, err := l.Accept()
		must(t, err)
		defer raw.Close()
	}
	last, err := dial(path)
	must(t, err)
	defer last.Close()
	raw, err = l.Accept()
	must(t, err)
	defer raw.Close()
	must(t, p.do("count-open 2"))
	for _, r := range raws {
		_ = r.Close()
		_ = r.Close()
	}
}

func TestWaitingInAll(t *testing.T) {
	w := waiting{each: make(map[uint32]int)}
	in := 0
	for uid := range uint32(100) {
		for range maxWaiting {
			if w.enter(70000 + uid) {
				in++
			}
		}
	}
	if in != maxWaiting || w.others != maxWaiting {
		t.Errorf("%d are in, %d counted", in, w.others)
	}
	for range maxWaiting {
		if !w.enter(0) {
			t.Fatal("root was kept out by others")
		}
	}
	if w.enter(0) {
		t.Error("root has no bound")
	}
	w.leave(0)
	if !w.enter(0) {
		t.Error("root got no room back")
	}
	w.leave(70000)
	if !w.enter(70099) || w.enter(70000) {
		t.Error("room given back is not one")
	}
}

// The queue is as long as the kernel allows.
func TestBacklog(t *testing.T) {
	data, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	must(t, err)
	most, err := strconv.Atoi(strings.TrimSpace(string(data)))
	must(t, err)
	_, l, path := listenOpen(t)
	a := &unix.SockaddrUnix{Name: path}
	for n := 0; ; n++ {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		must(t, err)
		err = unix.Connect(fd, a)
		must(t, unix.Close(fd)) // it stays in the queue
		if errors.Is(err, unix.EAGAIN) {
			if n < min(most, backlog) {
				t.Errorf("%d fit, and the kernel allows %d", n, most)
			}
			break
		}
		must(t, err)
	}
	must(t, l.Close())
}

// A user who connects and closes in a loop neither piles up descriptors nor
// keeps root out for good.
func TestFlood(t *testing.T) {
	attackers := []*program{become4321(t), become4321(t)}
	creds, l, path := listenOpen(t)
	before := descriptors(t)
	met := make(chan net.Conn, 100)
	go func() { // as gRPC does it
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				c, info, err := creds.ServerHandshake(raw)
				if err != nil {
					_ = raw.Close()
					return
				}
				if info.(*Identity).Peer.UID == 0 {
					met <- c
					return
				}
				_, _ = c.Read(make([]byte, 1))
				_ = c.Close()
			}()
		}
	}()
	over := make(chan error, len(attackers))
	for _, p := range attackers {
		go func() { over <- p.do("flood %s 30000", path) }()
	}
	most := 0
	for range 50 {
		var c *net.UnixConn
		var err error
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if c, err = dial(path); !errors.Is(err, unix.EAGAIN) || time.Now().After(end) {
				break
			}
		}
		must(t, err)
		select {
		case node := <-met:
			_, err = io.WriteString(node, "x")
			must(t, err)
			_ = node.Close()
		case <-time.After(10 * time.Second):
			t.Fatal("root is not answered")
		}
		_ = c.Close()
		most = max(most, descriptors(t)-before)
	}
	for range attackers {
		must(t, <-over)
	}
	t.Logf("at most %d descriptors more, %v refused", most, creds.Refused())
	if most > 500 {
		t.Errorf("%d descriptors more", most)
	}
}
