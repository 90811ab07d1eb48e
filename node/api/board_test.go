package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/cam-os/edge/ebpf/sensor"
	"github.com/cam-os/edge/energy"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
	"github.com/cam-os/edge/node/peer"
)

// board is a small node: it shows what is put on it, and its agents are real
// cgroups.
type board struct {
	mu     sync.Mutex
	latest *observe.Observation
	subs   map[chan *observe.Observation]bool
	agents map[string]string // cgroup path: name
	// start is where StartAgent moves processes: a cgroup's directory and path.
	startDir, startPath string
	err                 error // what StartAgent and Series answer
	asked               []SeriesQuery
	series              SeriesResult
	panics              bool
}

func (b *board) Observation() *observe.Observation {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.panics {
		panic("the node is broken")
	}
	return b.latest
}

func (b *board) publish(o *observe.Observation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latest = o
	for c := range b.subs {
		select {
		case <-c:
		default:
		}
		c <- o
	}
}

// end closes all subscriptions.
func (b *board) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.subs {
		close(c)
	}
	b.subs = nil
}

func (b *board) Subscribe(ctx context.Context) <-chan *observe.Observation {
	c := make(chan *observe.Observation, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = map[chan *observe.Observation]bool{}
	}
	b.subs[c] = true
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.subs[c] {
			delete(b.subs, c)
			close(c)
		}
	})
	return c
}

func (b *board) AgentOf(cgroup string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name, ok := b.agents[cgroup]
	return name, ok
}

func (b *board) StartAgent(_ context.Context, name string, pid int) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return "", b.err
	}
	b.agents[b.startPath] = name
	return b.startPath, os.WriteFile(b.startDir+"/cgroup.procs", []byte(strconv.Itoa(pid)), 0)
}

func (b *board) Series(_ context.Context, q SeriesQuery) (SeriesResult, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, q)
	return b.series, b.err
}

func (b *board) Status() Status {
	return Status{Version: "v1", Started: time.Unix(7, 0), Findings: []Finding{
		{Name: "btf"}, {Name: "rapl", Level: Degraded, Remedy: "modprobe"}, {Name: "store", Level: Failed, Detail: "full"},
	}}
}

var pkg = energy.Zone{Name: "package", Source: energy.RAPL}

// look is an observation with fine figures.
func look(sequence uint64, at time.Duration, e energy.Microjoules) *observe.Observation {
	use := func(e energy.Microjoules) ledger.Usage {
		return ledger.Usage{CPU: 3, Switches: 4, Read: 5, Written: 6, Energy: map[energy.Zone]energy.Microjoules{pkg: e}}
	}
	return &observe.Observation{
		Time: time.Unix(1000, 0), At: at, Interval: time.Second, Sequence: sequence,
		Sensor: "ebpf", Measures: sensor.Measures{Agents: true, IO: true},
		Accounts: []ledger.Account{
			{Name: "a", Kind: ledger.KindAgent, Total: use(e), Interval: use(1)},
			{Name: "b", Kind: ledger.KindAgent, Total: use(e), Interval: use(1)},
			{Name: ledger.System, Kind: ledger.KindSystem, Total: use(e), Interval: use(1)},
			{Name: ledger.Idle, Kind: ledger.KindIdle, Total: use(e)},
			{Name: ledger.Unattributed, Kind: ledger.KindUnattributed, Total: use(e)},
			{Name: ledger.Retired, Kind: ledger.KindRetired},
		},
		Agents: map[string]observe.Agent{
			"a": {Name: "a", State: observe.Running, Cgroup: "/cam.slice/a"},
			"b": {Name: "b", State: observe.Ended, Cgroup: "/cam.slice/b"},
		},
		Zones: []ledger.ZoneAccount{{
			Reading: energy.Reading{Zone: pkg, Total: 5 * e}, Metered: 5 * e,
			Agents: 2 * e, System: e, Idle: e, Unattributed: e, Power: 12_345_678,
		}},
		Breakdown: []observe.CgroupUsage{{Cgroup: "/user.slice", Usage: use(9)}},
	}
}

// serve serves a board on a socket that every user may connect to.
func serve(t *testing.T, b *board, cfg Config) (*Server, string) {
	t.Helper()
	s, path, stop := serveUntil(t, b, cfg)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s, path
}

func serveUntil(t *testing.T, b *board, cfg Config) (*Server, string, func() error) {
	t.Helper()
	cfg.Node = b
	s, err := NewServer(cfg)
	must(t, err)
	dir := folder(t)
	l, err := Listen(filepath.Join(dir, "node"))
	must(t, err)
	must(t, os.Chmod(filepath.Join(dir, "node"), 0o666))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	return s, filepath.Join(dir, "node"), sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

func client(t *testing.T, path string) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// wantCode expects an error of a code whose text holds a part.
func wantCode(t *testing.T, err error, code codes.Code, part string) {
	t.Helper()
	if s := status.Convert(err); s.Code() != code || !strings.Contains(s.Message(), part) {
		t.Errorf("got %v, want %v with %q", err, code, part)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// both runs a test as on new and on old kernels.
func both(t *testing.T, f func(t *testing.T, cfg Config)) {
	t.Helper()
	t.Run("pidfd", func(t *testing.T) { f(t, Config{}) })
	t.Run("fallback", func(t *testing.T) { f(t, Config{NoPeerPidfd: true}) })
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("needs root, and this is uid %d", os.Geteuid())
	}
}

// folder is one that every user can enter.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "api")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// leaf makes a cgroup; it returns its directory and its path.
func leaf(t *testing.T, name string) (dir, path string) {
	t.Helper()
	needRoot(t)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	root := ""
	for line := range bytes.Lines(mounts) {
		before, after, _ := bytes.Cut(line, []byte(" - "))
		if f := bytes.Fields(before); bytes.HasPrefix(after, []byte("cgroup2 ")) && len(f) > 4 {
			root = string(f[4])
			break
		}
	}
	if root == "" {
		t.Skip("no cgroup2 is mounted")
	}
	path = fmt.Sprintf("/cam-test-api-%d-%s", os.Getpid(), name)
	must(t, os.Mkdir(root+path, 0o755))
	t.Cleanup(func() {
		for range 200 { // the kernel takes a moment to let go of those that ended
			if err = os.Remove(root + path); err == nil || errors.Is(err, os.ErrNotExist) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error(err)
	})
	return root + path, path
}

var (
	testReaders = peer.Group{Name: ReaderGroup, ID: 4901, Exists: true}
	testAdmins  = peer.Group{Name: AdminGroup, ID: 4900, Exists: true}
)
