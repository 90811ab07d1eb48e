package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/ebpf/cgroup"
	"github.com/cam-os/edge/node/container"
)

// Bounds of one walk, and of what is watched after it.
const (
	mostCgroups = 1 << 16
	mostWatched = 1 << 10
)

// tree looks for cgroups by pattern. A walk lists only cgroups that have others
// below them, and knows afterwards where new ones may appear.
type tree struct {
	cgroups *cgroup.Hierarchy
	// watched are the link counts of cgroups in which others may appear.
	watched map[string]uint64
	visited int
	err     error
}

// begin forgets the last walk.
func (t *tree) begin() { t.watched, t.visited, t.err = make(map[string]uint64), 0, nil }

// moved says whether cgroups have come or gone since the walk, for one system
// call for each that is watched. One that came when another went, and one below
// what had none before, may be missed.
func (t *tree) moved() bool {
	for p, was := range t.watched {
		if links, _, err := t.stat(p); err != nil || links != was {
			return true
		}
	}
	return false
}

func (t *tree) stat(p string) (links uint64, owner uint32, err error) {
	dir, err := t.cgroups.Dir(p)
	if err != nil {
		return 0, 0, err
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, 0, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	return uint64(st.Nlink), st.Uid, nil // #nosec G115 -- 32 bits on some architectures
}

// children lists the cgroups right below p, and whose p is. It watches p where
// asked to, or where others may appear: where there are some, and in slices.
func (t *tree) children(p string, watch bool) (below []string, owner uint32) {
	t.visited++
	if t.visited > mostCgroups {
		t.err = fmt.Errorf("more than %d cgroups: not all are looked at for agents", mostCgroups)
		return nil, 0
	}
	links, owner, err := t.stat(p)
	if err == nil {
		// 2 and one for each below: see cgroup.Hierarchy.Links.
		if len(t.watched) < mostWatched && (watch || links > 2 || strings.HasSuffix(p, ".slice") || path.Dir(p) == "/") {
			t.watched[p] = links
		}
		if links <= 2 {
			return nil, owner
		}
		below, err = t.cgroups.Children(p)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && t.err == nil {
		t.err = fmt.Errorf("cannot look for agents: %w", err)
	}
	// A name with a newline, say, is no agent's.
	out := below[:0]
	for _, c := range below {
		if _, err := t.cgroups.Dir(c); err == nil {
			out = append(out, c)
		}
	}
	return out, owner
}

// glob lists the cgroups that match a pattern, level by level, sorted.
func (t *tree) glob(pattern string) []string {
	at := []string{"/"}
	for part := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, p := range at {
			below, _ := t.children(p, true)
			for _, c := range below {
				if ok, _ := path.Match(part, path.Base(c)); ok {
					next = append(next, c)
				}
			}
		}
		at = next
	}
	return at
}

// containers lists the outermost containers.
func (t *tree) containers() []container.Ref {
	var found []container.Ref
	var walk func(string)
	walk = func(p string) {
		below, owner := t.children(p, false)
		for _, c := range below {
			if ref, ok := container.Parse(c); ok {
				ref.Owner = owner
				found = append(found, ref)
			} else {
				walk(c)
			}
		}
	}
	walk("/")
	return found
}
