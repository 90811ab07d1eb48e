package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/systemd"
)

// Leaves is the Launcher of a machine without systemd: it makes and removes
// cgroup directories of its own, and touches no others.
type Leaves struct {
	Cgroups *cgroup.Hierarchy
	// Slice is the path that all leaves are below.
	Slice string
}

// Probe says whether leaves can be made: it makes the slice.
func (l Leaves) Probe() error {
	if err := l.Cgroups.Create(l.Slice); err != nil {
		return fmt.Errorf("%w: %w; run the node as root, or with a delegated cgroup", ErrUnsupported, err)
	}
	return nil
}

// Close removes the slice when nothing is left in it.
func (l Leaves) Close() error {
	if children, err := l.Cgroups.Children(l.Slice); err == nil && len(children) == 0 {
		return l.Cgroups.Remove(l.Slice)
	}
	return nil
}

// Start implements Launcher.
func (l Leaves) Start(_ context.Context, agent, slice string, pid int) (string, error) {
	p := "/" + slice + "/" + scopeName(agent)
	if err := l.Cgroups.Create(p); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err := l.Cgroups.Move(p, pid); err != nil {
		return "", errors.Join(fmt.Errorf("cannot move process %d into %s: %w", pid, p, err), l.Reap(p))
	}
	return p, nil
}

// Reap implements Launcher: it removes the cgroup and what the agent made
// below it. The kernel refuses where a process is left.
func (l Leaves) Reap(p string) error {
	children, err := l.Cgroups.Children(p)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := l.Reap(c); err != nil {
			return err
		}
	}
	return l.Cgroups.Remove(p)
}

// Scopes is the Launcher of a machine with systemd.
type Scopes struct{}

// Start implements Launcher.
func (Scopes) Start(ctx context.Context, agent, slice string, pid int) (string, error) {
	p, err := systemd.StartScope(ctx, scopeName(agent), slice, "CAM-OS agent "+agent, uint32(pid)) // #nosec G115 -- a pid of the kernel
	if errors.Is(err, systemd.ErrUnitExists) {
		return "", fmt.Errorf("%w: %w", ErrNameTaken, err)
	}
	return p, err
}

// Reap implements Launcher: systemd removes a scope by itself.
func (Scopes) Reap(string) error { return errors.New("left to systemd") }
