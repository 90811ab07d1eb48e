package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cam-os/edge/packaging/lab/wire"
)

// channel asks the program inside the guest.
type channel struct {
	conn net.Conn

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan wire.Reply
	closed  chan struct{}
}

// dial connects once QEMU has made its socket.
func dial(socket string, exited <-chan struct{}) (*channel, error) {
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			c := &channel{conn: conn, waiting: make(map[uint64]chan wire.Reply), closed: make(chan struct{})}
			go c.read()
			return c, nil
		}
		select {
		case <-exited:
			return nil, errors.New("the machine did not start")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *channel) read() {
	defer close(c.closed)
	lines := bufio.NewReader(c.conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var r wire.Reply
		if json.Unmarshal(line, &r) != nil {
			continue
		}
		c.mu.Lock()
		ch := c.waiting[r.ID]
		delete(c.waiting, r.ID)
		c.mu.Unlock()
		if ch != nil {
			ch <- r
		}
	}
}

// Run runs a shell script in the guest. An error means that there was no
// answer; how the script ended is in the reply.
func (g *Guest) Run(ctx context.Context, script string, stdin []byte, limit time.Duration) (wire.Reply, error) {
	c := g.channel
	c.mu.Lock()
	c.next++
	id := c.next
	ch := make(chan wire.Reply, 1)
	c.waiting[id] = ch
	line, err := json.Marshal(wire.Request{ID: id, Script: script, Stdin: stdin, Seconds: limit.Seconds()})
	if err == nil {
		_, err = c.conn.Write(append(line, '\n'))
	}
	c.mu.Unlock()
	if err != nil {
		return wire.Reply{}, err
	}
	select {
	case r := <-ch:
		return r, nil
	case <-ctx.Done():
		return wire.Reply{}, fmt.Errorf("no answer: %w", ctx.Err())
	case <-g.exited:
	case <-c.closed:
		// Mostly since the machine goes off, which says more.
		select {
		case <-g.exited:
		case <-time.After(5 * time.Second):
			return wire.Reply{}, errors.New("the machine's channel was closed")
		}
	}
	return wire.Reply{}, errors.Join(errors.New("the machine went off"), g.err)
}
