package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

// patience is how long anything may take to start, stop or answer.
const patience = 20 * time.Second

// Node is a cam-node process.
type Node struct {
	PID int
	// First and Up are the times from exec to the first observation on the
	// socket and to the message "node is up".
	First, Up time.Duration
	StateDir  string
	Metrics   string // URL

	socket string
	cmd    *exec.Cmd
	conn   *grpc.ClientConn
	api    camv1.NodeServiceClient
	log    *watchedLog
	rig    *Rig
}

// StartNode starts a node at its defaults, but for places; sysfs "" is the
// kernel's. It returns when the node is up.
func (r *Rig) StartNode(ctx context.Context, sysfs string) (_ *Node, err error) {
	n := &Node{StateDir: filepath.Join(r.Dir, fmt.Sprintf("node-%d", len(r.states))), rig: r}
	if err := os.Mkdir(n.StateDir, 0o700); err != nil {
		return nil, err
	}
	r.states = append(r.states, n.StateDir)
	n.socket = filepath.Join(n.StateDir, "cam.sock")
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	n.Metrics = "http://" + address + "/metrics"
	config := filepath.Join(n.StateDir, "node.yaml")
	if err := os.WriteFile(config, []byte("agents: {slice: "+r.slice+"}\n"), 0o600); err != nil {
		return nil, err
	}
	args := []string{"run", "--config", config, "--state-dir", n.StateDir, "--socket", n.socket, "--metrics-address", address}
	if sysfs != "" {
		args = append(args, "--path.sysfs", sysfs)
	}
	n.log = newWatchedLog("node is up")
	n.cmd = exec.Command(r.Program("cam-node"), args...) // #nosec G204 -- our own program
	n.cmd.Stderr = n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := time.Now()
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	n.PID = n.cmd.Process.Pid
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Stop())
		}
	}()
	if err := n.connect(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for n.First == 0 {
		if o, err := n.api.Observe(ctx, &camv1.ObserveRequest{}); err == nil && o.GetObservation() != nil {
			n.First = time.Since(started)
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the node gave no sample within %v; it said:\n%s", patience, n.log)
		case <-time.After(2 * time.Millisecond):
		}
	}
	select {
	case at := <-n.log.seen:
		n.Up = at.Sub(started)
	case <-ctx.Done():
		return nil, fmt.Errorf("the node was not up within %v; it said:\n%s", patience, n.log)
	}
	return n, nil
}

// connect prepares the connection. The socket is dialled anew at each try:
// gRPC's own backoff starts at a second.
func (n *Node) connect() (err error) {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		for {
			c, err := new(net.Dialer).DialContext(ctx, "unix", n.socket)
			if err == nil {
				return c, nil
			}
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(time.Millisecond):
			}
		}
	}
	n.conn, err = grpc.NewClient("passthrough:///node", grpc.WithContextDialer(dial), grpc.WithAuthority("localhost"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err == nil {
		n.api = camv1.NewNodeServiceClient(n.conn)
	}
	return err
}

// Observe returns the latest observation.
func (n *Node) Observe(ctx context.Context) (*camv1.Observation, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := n.api.Observe(ctx, &camv1.ObserveRequest{})
	if err != nil {
		return nil, err
	}
	n.rig.Residual.Observation(resp.GetObservation())
	return resp.GetObservation(), nil
}

// Watch receives observations until one that was measured after CLOCK_BOOTTIME
// at, and returns that one.
func (n *Node) Watch(ctx context.Context, at time.Duration) (*camv1.Observation, error) {
	ctx, cancel := context.WithTimeout(ctx, max(0, at-Boottime())+patience)
	defer cancel()
	stream, err := n.api.ObserveStream(ctx, &camv1.ObserveStreamRequest{})
	if err != nil {
		return nil, err
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		o := resp.GetObservation()
		n.rig.Residual.Observation(o)
		if time.Duration(o.GetBoottimeNanoseconds()) > at { // #nosec G115 -- time since boot
			return o, nil
		}
	}
}

// Stop ends the node as a service manager does. A node that does not end is
// killed, which is an error.
func (n *Node) Stop() error {
	var errs []error
	if n.conn != nil {
		errs = append(errs, n.conn.Close())
	}
	errs = append(errs, stop(n.cmd))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the node did not end well: %w; it said:\n%s", err, n.log)
	}
	return nil
}

// stop sends SIGTERM, and SIGKILL if that does not help.
func stop(c *exec.Cmd) error {
	if err := c.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer late.Stop()
	return c.Wait()
}

// Agent is a load that camctl runs as an agent.
type Agent struct {
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
	err strings.Builder
}

// StartAgent has camctl run a load as an agent.
func (n *Node) StartAgent(name string, load ...string) (*Agent, error) {
	a := &Agent{}
	args := append([]string{"--socket", n.socket, "run", "--name", name, "--", n.rig.Program("load")}, load...)
	a.cmd = exec.Command(n.rig.Program("camctl"), args...) // #nosec G204 -- our own program
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	a.cmd.Stderr = &a.err
	in, err := a.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.in, a.out = in, bufio.NewReader(out)
	return a, a.cmd.Start()
}

// Release tells the load to end, and does not wait.
func (a *Agent) Release() { _ = a.in.Close() }

// Finish tells the load to end, waits, and returns what it printed.
func (a *Agent) Finish() ([]byte, error) {
	a.Release()
	out, err := io.ReadAll(a.out)
	if err := errors.Join(err, a.cmd.Wait()); err != nil {
		return nil, fmt.Errorf("an agent failed: %w: %s", err, a.err.String())
	}
	return out, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// watchedLog keeps what a program says, and tells when it said something.
type watchedLog struct {
	want string
	seen chan time.Time

	mu   sync.Mutex
	text []byte
}

func newWatchedLog(want string) *watchedLog {
	return &watchedLog{want: want, seen: make(chan time.Time, 1)}
}

func (l *watchedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := strings.Contains(string(l.text), l.want)
	if l.text = append(l.text, p...); len(l.text) > 64<<10 {
		l.text = l.text[len(l.text)-64<<10:]
	}
	if !before && strings.Contains(string(l.text), l.want) {
		select {
		case l.seen <- time.Now():
		default:
		}
	}
	return len(p), nil
}

func (l *watchedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
