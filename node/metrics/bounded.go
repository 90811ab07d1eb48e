package metrics

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// maxConns leaves most of 1024 descriptors, the usual limit, to the sensor.
const maxConns = 64

// bounded is a listener with at most so many open connections. A further one
// takes the place of the one that has waited longest for a request, or, when
// all are being answered, of the oldest: were it closed itself, whoever holds
// idle connections would keep Prometheus out.
type bounded struct {
	net.Listener
	most int

	mu    sync.Mutex
	conns *list.List // of *boundedConn, those that waited longest first
}

func bound(l net.Listener, most int) *bounded {
	return &bounded{Listener: l, most: most, conns: list.New()}
}

type boundedConn struct {
	net.Conn
	l    *bounded
	at   *list.Element // nil once closed
	busy bool
}

func (l *bounded) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	b := &boundedConn{Conn: c, l: l}
	l.mu.Lock()
	var out *boundedConn
	if l.conns.Len() >= l.most {
		out = l.conns.Front().Value.(*boundedConn)
		for e := l.conns.Front(); e != nil; e = e.Next() {
			if c := e.Value.(*boundedConn); !c.busy {
				out = c
				break
			}
		}
	}
	b.at = l.conns.PushBack(b)
	l.mu.Unlock()
	if out != nil {
		_ = out.Close()
	}
	return b, nil
}

func (c *boundedConn) Close() error {
	c.l.mu.Lock()
	if c.at != nil {
		c.l.conns.Remove(c.at)
		c.at = nil
	}
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// state is the server's ConnState. A connection is active from the first
// complete request header on.
func (l *bounded) state(c net.Conn, s http.ConnState) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = t.NetConn()
	}
	b, ok := c.(*boundedConn)
	if !ok || s != http.StateActive && s != http.StateIdle {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b.busy = s == http.StateActive
	if b.at != nil {
		l.conns.MoveToBack(b.at)
	}
}
