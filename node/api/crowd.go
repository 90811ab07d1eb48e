package api

import (
	"fmt"
	"sync"

	"github.com/cam-os/edge/node/peer"
)

// crowd bounds connections. They are counted by agent and not by uid where
// there is one, so that an agent that runs as root does not lock root out.
type crowd struct {
	max, each int
	agentOf   func(string) (string, bool)

	mu    sync.Mutex
	total int
	by    map[string]int
}

func newCrowd(limit, each int, agentOf func(string) (string, bool)) *crowd {
	if limit <= 0 {
		limit = 512
	}
	if each <= 0 {
		each = 64
	}
	return &crowd{max: limit, each: each, agentOf: agentOf, by: map[string]int{}}
}

func (c *crowd) admit(p peer.Peer) (func(), error) {
	who := fmt.Sprintf("uid %d", p.UID)
	if caller, err := (peer.Rules{}).Caller(p, c.agentOf); err == nil && caller.Role == peer.Agent {
		who = "agent " + caller.Agent
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.by[who] >= c.each:
		return nil, fmt.Errorf("%s has %d connections already", who, c.by[who])
	// The administrator's way in stays open.
	case c.total >= c.max && who != "uid 0":
		return nil, fmt.Errorf("the node has %d connections already", c.total)
	}
	c.total++
	c.by[who]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.total--
		if c.by[who]--; c.by[who] == 0 {
			delete(c.by, who)
		}
	}, nil
}
