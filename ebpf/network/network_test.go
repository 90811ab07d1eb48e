package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

func hierarchy(t testing.TB) *cgroup.Hierarchy {
	t.Helper()
	h, err := cgroup.Open("/sys/fs/cgroup")
	if err != nil {
		mounts, _ := os.ReadFile("/proc/self/mounts")
		if strings.Contains(string(mounts), " cgroup2 ") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("not root: no cgroups and no programs of our own")
	}
	return h
}

func counter(t testing.TB, h *cgroup.Hierarchy) *Counter {
	t.Helper()
	c, err := Open(h, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// leaf is a cgroup of the test's own.
type leaf struct {
	h         *cgroup.Hierarchy
	path, dir string
	id        cgroup.ID
}

var leaves int

func newLeaf(t testing.TB, h *cgroup.Hierarchy, below string) leaf {
	t.Helper()
	leaves++
	l := leaf{h: h, path: fmt.Sprintf("%s/cam-test-network-%d-%d", below, os.Getpid(), leaves)}
	if err := h.Create(l.path); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.id, err = h.ID(l.path); err != nil {
		t.Fatal(err)
	}
	if l.dir, err = h.Dir(l.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.remove(t) })
	return l
}

func (l leaf) remove(t testing.TB) {
	t.Helper()
	var err error
	for range 500 {
		if err = l.h.Remove(l.path); err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Error(err)
}

func follow(t testing.TB, c *Counter, l leaf) {
	t.Helper()
	if err := c.Follow(l.id, l.path); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, c *Counter) map[cgroup.ID]Traffic {
	t.Helper()
	all, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What the cgroup sent and received is what the loopback of its private network
// namespace counted, to the byte and packet.
func TestEqualsTheDevice(t *testing.T) {
	h := hierarchy(t)
	c := counter(t, h)
	const n = 50
	for name, role := range map[string][]string{
		"tcp4":      {"card@lo@1500", "tcp@127.0.0.1@1000000"},
		"tcp6":      {"card@lo@1500", "tcp@::1@1000000"},
		"large mtu": {"card@lo@65536", "tcp@::1@1000000", "tcp@127.0.0.1@1000000"},
		"udp4":      {fmt.Sprintf("udp@127.0.0.1@%d", n)},
		"udp6":      {fmt.Sprintf("udp@::1@%d", n)},
		"all":       {"udp@127.0.0.1@3", "tcp@::1@1000", "udp@::1@3", "tcp@127.0.0.1@1000"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeaf(t, h, "")
			follow(t, c, l)
			a := start(t, l.dir, append(role, "lo")...)
			want := a.lo()
			a.end()
			got := read(t, c)[l.id]
			if plus := withSynAcks(t, got, want, role); plus != want {
				t.Errorf("%+v, and the device says %+v", got, want)
			}
			payload := map[string]uint64{"tcp4": 1e6, "tcp6": 1e6, "udp4": n * (datagram + 20 + 8), "udp6": n * (datagram + 40 + 8)}[name]
			if got.SentBytes < payload || strings.HasPrefix(name, "udp") && got.SentBytes != payload {
				t.Errorf("%d bytes sent, of %d", got.SentBytes, payload)
			}
		})
	}
}

// withSynAcks adds the answers to connecting IPv6 sockets where the kernel does
// not show them; see Traffic.
func withSynAcks(t *testing.T, got, device Traffic, role []string) Traffic {
	t.Helper()
	if got.SentPackets >= device.SentPackets {
		return got // more of them where the loopback left some whole
	}
	missed := device.SentPackets - got.SentPackets
	t.Logf("%d packets are not shown by kernel %s", missed, kernelRelease(t))
	var major, minor int
	if _, err := fmt.Sscanf(kernelRelease(t), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(strings.Join(role, ","), "tcp@::1"); missed == uint64(n) && (major < 6 || major == 6 && minor < 6) {
		got.SentPackets += missed
		got.SentBytes += missed * (40 + 20 + 20) // IP, TCP and its options
	}
	return got
}

func kernelRelease(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(u.Release[:])
}

// The loopback leaves large packets whole, and they count all the same.
func TestLargePackets(t *testing.T) {
	h := hierarchy(t)
	c := counter(t, h)
	l := newLeaf(t, h, "")
	follow(t, c, l)
	role := []string{"tcp@127.0.0.1@1000000", "tcp@::1@1000000"}
	device := start(t, l.dir, append(role, "lo")...).lo()
	got := withSynAcks(t, read(t, c)[l.id], device, role)
	if got.SentBytes < device.SentBytes || got.SentBytes > device.SentBytes*101/100 || got.SentPackets < device.SentPackets {
		t.Errorf("%+v, and the device says %+v", got, device)
	}
}

func TestRefused(t *testing.T) {
	h := hierarchy(t)
	c := counter(t, h)
	if len(c.Missing()) > 0 {
		t.Fatal(c.Missing())
	}
	outer := newLeaf(t, h, "")
	inner := newLeaf(t, h, outer.path)
	other := newLeaf(t, h, "")
	for _, l := range []leaf{outer, inner, other} {
		follow(t, c, l)
	}
	// The second of the three is answered, and its end is no refusal.
	start(t, inner.dir, "refused@127.0.0.1@3", "tcp@127.0.0.1@10", "refused@::1@2").end()
	got := read(t, c)
	if got[inner.id].Refused != 5 || got[outer.id].Refused != 5 || got[other.id] != (Traffic{}) {
		t.Errorf("refused: %+v, above it %+v; beside it %+v", got[inner.id], got[outer.id], got[other.id])
	}
}

// The followed ancestor counts for all below it; a followed one below counts too.
func TestNested(t *testing.T) {
	h := hierarchy(t)
	c := counter(t, h)
	outer := newLeaf(t, h, "")
	middle := newLeaf(t, h, outer.path)
	inner := newLeaf(t, h, middle.path)
	follow(t, c, outer)
	follow(t, c, inner)
	want := start(t, inner.dir, "udp@127.0.0.1@7", "lo").lo()
	got := read(t, c)
	if got[outer.id] != want || got[inner.id] != want || len(got) != 2 {
		t.Errorf("%+v, want %+v in %d and %d", got, want, outer.id, inner.id)
	}
	start(t, outer.dir, "udp@127.0.0.1@1").end()
	start(t, middle.dir, "udp@127.0.0.1@1").end()
	start(t, h.Root(), "udp@127.0.0.1@1").end()
	got = read(t, c)
	if got[outer.id].SentPackets != 9 || got[inner.id] != want {
		t.Errorf("%+v", got)
	}
}

func TestFollowTwiceAndUnfollow(t *testing.T) {
	h := hierarchy(t)
	c := counter(t, h)
	l := newLeaf(t, h, "")
	follow(t, c, l)
	start(t, l.dir, "udp@127.0.0.1@2").end()
	follow(t, c, l)
	start(t, l.dir, "udp@127.0.0.1@3").end()
	if got := read(t, c)[l.id]; got.SentPackets != 5 || got.ReceivedPackets != 5 {
		t.Errorf("%+v", got)
	}
	last, err := c.Unfollow(l.id)
	if err != nil || last.SentPackets != 5 {
		t.Errorf("the last figures: %+v, %v", last, err)
	}
	start(t, l.dir, "udp@127.0.0.1@4").end()
	if got := read(t, c); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if last, err := c.Unfollow(l.id); err != nil || last != (Traffic{}) {
		t.Errorf("unfollow what is not followed: %+v, %v", last, err)
	}
	follow(t, c, l)
	if got := read(t, c)[l.id]; got != (Traffic{}) {
		t.Errorf("followed again: %+v", got)
	}
}

// Figures outlive the cgroup, and its place may be another's.
func TestVanished(t *testing.T) {
	h := hierarchy(t)
	c := counter(t, h)
	l := newLeaf(t, h, "")
	follow(t, c, l)
	a := start(t, l.dir, "udp@127.0.0.1@2", "lo", "wait")
	want := a.lo()
	a.line()
	a.goOn().end()
	l.remove(t)
	if err := h.Create(l.path); err != nil {
		t.Fatal(err)
	}
	again := l
	var err error
	if again.id, err = h.ID(l.path); err != nil || again.id == l.id {
		t.Fatalf("id %d again: %v", again.id, err)
	}
	follow(t, c, again)
	start(t, l.dir, "udp@127.0.0.1@3").end()
	time.Sleep(50 * time.Millisecond) // until the kernel has let the old one go
	got := read(t, c)
	if got[l.id] != want || got[again.id].SentPackets != 3 {
		t.Errorf("%+v; want %+v for %d", got, want, l.id)
	}
	if last, err := c.Unfollow(l.id); err != nil || last != want {
		t.Errorf("%+v, %v", last, err)
	}
	if err := c.Follow(l.id, l.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("follow what is gone: %v", err)
	}
}

// Sockets outlive the cgroup that made them, and stay its own.
func TestSocketsOutliveTheCgroup(t *testing.T) {
	h := hierarchy(t)
	c := counter(t, h)
	l := newLeaf(t, h, "")
	follow(t, c, l)
	a := start(t, l.dir, "half@127.0.0.1@10")
	a.line()
	if got := read(t, c)[l.id]; got.SentPackets != 5 {
		t.Errorf("halfway: %+v", got)
	}
	if err := h.Move("/", a.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	l.remove(t)
	a.goOn().end()
	if got := read(t, c)[l.id]; got.SentPackets != 10 || got.ReceivedPackets != 10 {
		t.Errorf("%+v", got)
	}
}

func TestProbesKnowTheirCost(t *testing.T) {
	h := hierarchy(t)
	c := counter(t, h)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	l := newLeaf(t, h, "")
	follow(t, c, l)
	start(t, l.dir, "tcp@127.0.0.1@100").end()
	names := ""
	for _, p := range c.Probes() {
		if p.Runs == 0 || p.Time == 0 {
			t.Errorf("%+v", p)
		}
		names += p.Name + " "
	}
	if names != "cgroup_skb_ingress cgroup_skb_egress inet_sock_set_state " {
		t.Error(names)
	}
}
