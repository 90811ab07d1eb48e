// Package network counts what cgroups send and receive.
package network

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/ebpf/sensor"
)

// Traffic is cumulative since the cgroup was followed. It never goes back.
//
// Bytes are those of IP packets, their headers included, loopback too. A large
// send that the card cuts up, or packets that were joined on receipt, count as
// what they are on the wire (loopback leaves them whole). A socket belongs to the
// cgroup that made it, wherever its process moves. What the kernel answers by
// itself, without a socket (resets, pings, the last of a closed connection in
// TIME_WAIT), is nobody's. Before Linux 6.6 the same goes for the first answer to
// an IPv6 connection (its SYN-ACK, one packet of some 80 bytes).
type Traffic struct {
	ReceivedBytes, ReceivedPackets uint64
	SentBytes, SentPackets         uint64
	// Refused counts outgoing TCP connections that the other end answered with
	// a reset, or a firewall with "port unreachable".
	Refused uint64
}

// Counter counts for the cgroups that it follows, the descendants of each
// included. It lets every packet through. Its methods must not be called
// concurrently.
type Counter struct {
	h        *cgroup.Hierarchy
	spec     *ebpf.CollectionSpec
	traffics *ebpf.Map
	pairs    map[int]*pair // by depth; kept until Close, for their cost
	refusals *ebpf.Program // nil where Refused cannot be counted
	refused  link.Link
	followed map[cgroup.ID]*followed
	missing  []string
	perCPU   []programsTraffic
}

// followed is one cgroup with the programs attached to it.
type followed struct{ links []link.Link }

// Follow begins to count for the cgroup with this id at this path below the
// cgroup2 root, from zero. One that is followed already goes on. The error is
// fs.ErrNotExist when another cgroup, or none, is at the path. The root itself
// is not followed.
//
// A cgroup that is removed stays followed, its figures with it, until Unfollow.
func (c *Counter) Follow(id cgroup.ID, path string) error {
	if c.followed[id] != nil {
		return nil
	}
	dir, err := openCgroup(c.h, id, path)
	if err != nil {
		return fmt.Errorf("follow the network of cgroup %s: %w", path, err)
	}
	defer dir.Close()
	p, err := c.pair(depth(path))
	if err != nil {
		return err
	}
	// First the entry: the programs count for no cgroup without one.
	if err := c.traffics.Update(id, make([]programsTraffic, len(c.perCPU)), ebpf.UpdateNoExist); err != nil {
		return fmt.Errorf("follow the network of cgroup %s: %w", path, noRoom(err))
	}
	f, err := p.attach(dir)
	if err != nil {
		return errors.Join(fmt.Errorf("follow the network of cgroup %s: %w", path, err), c.traffics.Delete(id))
	}
	c.followed[id] = f
	return nil
}

// Unfollow lets a cgroup go and forgets it; the result is its last figures. One
// that is not followed has none.
func (c *Counter) Unfollow(id cgroup.ID) (Traffic, error) {
	f := c.followed[id]
	if f == nil {
		return Traffic{}, nil
	}
	delete(c.followed, id)
	err := f.close()
	last, readErr := c.traffic(id)
	return last, errors.Join(err, readErr, c.traffics.Delete(id))
}

// Read is what each followed cgroup did so far.
func (c *Counter) Read() (map[cgroup.ID]Traffic, error) {
	out := make(map[cgroup.ID]Traffic, len(c.followed))
	for id := range c.followed {
		t, err := c.traffic(id)
		if err != nil {
			return nil, err
		}
		out[id] = t
	}
	return out, nil
}

func (c *Counter) traffic(id cgroup.ID) (t Traffic, err error) {
	if err := c.traffics.Lookup(id, &c.perCPU); err != nil {
		return t, fmt.Errorf("read the traffic of cgroup %d: %w", id, err)
	}
	for _, v := range c.perCPU {
		t.ReceivedBytes += v.ReceivedBytes
		t.ReceivedPackets += v.ReceivedPackets
		t.SentBytes += v.SentBytes
		t.SentPackets += v.SentPackets
		t.Refused += v.Refused
	}
	return t, nil
}

// Probes is what counting costs so far; see sensor.Probe.
func (c *Counter) Probes() []sensor.Probe {
	in, out := sensor.Probe{Name: "cgroup_skb_ingress"}, sensor.Probe{Name: "cgroup_skb_egress"}
	for _, p := range c.pairs {
		addCost(&in, p.Ingress)
		addCost(&out, p.Egress)
	}
	probes := []sensor.Probe{in, out}
	if c.refusals != nil {
		r := sensor.Probe{Name: "inet_sock_set_state"}
		addCost(&r, c.refusals)
		probes = append(probes, r)
	}
	return probes
}

func addCost(p *sensor.Probe, prog *ebpf.Program) {
	if st, err := prog.Stats(); err == nil {
		p.Runs += st.RunCount
		p.Time += st.Runtime
	}
}

// Missing says in words what is not counted here, and the remedy.
func (c *Counter) Missing() []string { return slices.Clone(c.missing) }

// Close stops counting.
func (c *Counter) Close() error {
	var errs []error
	for id, f := range c.followed {
		errs = append(errs, f.close())
		delete(c.followed, id)
	}
	if c.refused != nil {
		errs = append(errs, c.refused.Close())
	}
	// Those of cilium/ebpf take nil.
	errs = append(errs, c.refusals.Close(), c.traffics.Close())
	for level, p := range c.pairs {
		errs = append(errs, p.Ingress.Close(), p.Egress.Close())
		delete(c.pairs, level)
	}
	return errors.Join(errs...)
}
