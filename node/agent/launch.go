package agent

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/systemd"
)

// Leaves is the Launcher of a machine without systemd, or of a delegated
// cgroup: it makes and removes cgroup directories of its own, and touches no
// others.
type Leaves struct {
	cgroups *cgroup.Hierarchy
	slice   string
}

// OpenLeaves makes the cgroup that all leaves are below, or says why it can't.
func OpenLeaves(h *cgroup.Hierarchy, slice string) (*Leaves, error) {
	if err := h.Create(slice); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	// It may be there already, and be somebody else's.
	if dir, err := h.Dir(slice); err != nil {
		return nil, err
	} else if err := unix.Access(dir, unix.W_OK); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnsupported, dir, err)
	}
	return &Leaves{cgroups: h, slice: slice}, nil
}

// Slice implements Launcher.
func (l *Leaves) Slice() string { return l.slice }

// Start implements Launcher.
func (l *Leaves) Start(_ context.Context, agent string, pid int) (string, error) {
	p := l.slice + "/" + scopeName(agent)
	// The slice may have been removed by another node that ended.
	if err := errors.Join(l.cgroups.Create(l.slice), l.cgroups.Create(p)); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err := l.cgroups.Move(p, pid); err != nil {
		return "", errors.Join(fmt.Errorf("cannot move process %d into %s: %w", pid, p, err), l.Reap(p))
	}
	return p, nil
}

// Reap implements Launcher: it removes the cgroup and what the agent made
// below it. The kernel refuses where a process is left.
func (l *Leaves) Reap(p string) error {
	children, err := l.cgroups.Children(p)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := l.Reap(c); err != nil {
			return err
		}
	}
	return l.cgroups.Remove(p)
}

// Close removes the slice when nothing is left in it.
func (l *Leaves) Close() error {
	if children, err := l.cgroups.Children(l.slice); err == nil && len(children) == 0 {
		return l.cgroups.Remove(l.slice)
	}
	return nil
}

// Scopes is the Launcher of a machine with systemd: Unit is the slice.
type Scopes struct{ Unit string }

// Slice implements Launcher.
func (s Scopes) Slice() string { return "/" + s.Unit }

// Start implements Launcher.
func (s Scopes) Start(ctx context.Context, agent string, pid int) (string, error) {
	p, err := systemd.StartScope(ctx, scopeName(agent), s.Unit, "CAM-OS agent "+agent, uint32(pid)) // #nosec G115 -- a pid of the kernel
	if errors.Is(err, systemd.ErrUnitExists) {
		return "", fmt.Errorf("%w: %w", ErrNameTaken, err)
	}
	return p, err
}

// Reap implements Launcher: systemd removes a scope by itself.
func (Scopes) Reap(string) error { return errors.New("left to systemd") }
