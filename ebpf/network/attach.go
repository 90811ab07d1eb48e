package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// pair counts for the cgroups at one depth below the root.
type pair struct {
	Ingress *ebpf.Program `ebpf:"ingress"`
	Egress  *ebpf.Program `ebpf:"egress"`
}

// depth of a path that Hierarchy.Dir takes; the root's is 0.
func depth(path string) int {
	if path = strings.Trim(path, "/"); path == "" {
		return 0
	}
	return 1 + strings.Count(path, "/")
}

func (c *Counter) pair(level int) (*pair, error) {
	if p := c.pairs[level]; p != nil {
		return p, nil
	}
	p := &pair{}
	if err := c.load(p, nil, level); err != nil {
		return nil, explain(err)
	}
	c.pairs[level] = p
	return p, nil
}

// openCgroup opens the cgroup's directory if it is still that cgroup's.
func openCgroup(h *cgroup.Hierarchy, id cgroup.ID, path string) (*os.File, error) {
	if depth(path) == 0 {
		return nil, errors.New("the root cgroup is not followed")
	}
	name, err := h.Dir(path)
	if err != nil {
		return nil, err
	}
	dir, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0) // #nosec G304 -- Dir keeps it in the tree
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil { // #nosec G115 -- a descriptor
		return nil, errors.Join(&fs.PathError{Op: "stat", Path: name, Err: err}, dir.Close())
	}
	if cgroup.ID(st.Ino) != id {
		return nil, errors.Join(fmt.Errorf("cgroup %d is no longer there: %w", id, fs.ErrNotExist), dir.Close())
	}
	return dir, nil
}

// attach runs the programs beside those that others attach, as links do.
func (p *pair) attach(dir *os.File) (*followed, error) {
	f := &followed{}
	for _, a := range []struct {
		prog *ebpf.Program
		at   ebpf.AttachType
	}{{p.Ingress, ebpf.AttachCGroupInetIngress}, {p.Egress, ebpf.AttachCGroupInetEgress}} {
		l, err := link.AttachRawLink(link.RawLinkOptions{Target: int(dir.Fd()), Program: a.prog, Attach: a.at}) // #nosec G115 -- a descriptor
		if err != nil {
			return nil, errors.Join(refusedAttach(err), f.close())
		}
		f.links = append(f.links, l)
	}
	return f, nil
}

// refusedAttach says what the kernel means by a refusal (kernel/bpf/cgroup.c).
func refusedAttach(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("another program has the cgroup, or one above it, for itself (see bpftool cgroup tree), or CAP_NET_ADMIN is missing: %w", err)
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("64 programs are attached to the cgroup already (see bpftool cgroup tree): %w", err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("the cgroup was removed meanwhile: %w", errors.Join(err, fs.ErrNotExist))
	}
	return fmt.Errorf("attach: %w", err)
}

func noRoom(err error) error {
	if errors.Is(err, unix.E2BIG) {
		return fmt.Errorf("too many cgroups are followed; follow fewer: %w", err)
	}
	return err
}

func (f *followed) close() error {
	var errs []error
	for _, l := range f.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
