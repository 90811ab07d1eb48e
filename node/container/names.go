package container

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
)

// Names knows how containers are called. It is safe for concurrent use.
type Names struct {
	root string

	mu    sync.Mutex
	turn  uint64
	known map[key]*answer
	turnCache
}

// turnCache is what is read at most once a turn: lists that hold many containers.
type turnCache struct {
	links  *list // of the kubelet
	stored map[uint32]*list
	users  *passwd
}

type list struct {
	of  map[string]Name // by id
	err error           // what could not be read
}

type key struct {
	id    string
	owner uint32
	pod   bool
}

// answer is what was found when it was looked up last.
type answer struct {
	name  Name
	err   error
	asked uint64
	// again is the turn from which a failure is looked up again, wait turns
	// after the last time.
	again, wait uint64
}

const (
	// longestWait bounds how rarely, in turns, a container that has no name yet
	// is looked up.
	longestWait = 64
	// remembered is for how many turns a name is kept that nobody asks for.
	remembered = 256
)

// New makes Names that read the runtimes' files below root: "/" but in tests.
func New(root string) *Names {
	return &Names{root: root, known: make(map[key]*answer)}
}

// Turn begins another look at the runtimes' files. What is known of a container
// stays known, since its id belongs to it alone: one that is renamed while it
// runs keeps its old name here. What was not found is looked up again, ever more
// rarely.
func (n *Names) Turn() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turn++
	n.turnCache = turnCache{}
	for k, a := range n.known {
		if n.turn-a.asked > remembered {
			delete(n.known, k)
		}
	}
}

// Of returns a container's name. The error is fs.ErrNotExist where no runtime
// knows one (yet); another says why it could not be read.
func (n *Names) Of(ref Ref) (Name, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := key{ref.ID, ref.Owner, ref.Pod != ""}
	a := n.known[k]
	if a == nil {
		a = &answer{wait: 1}
		n.known[k] = a
	} else if a.err == nil || n.turn < a.again {
		a.asked = n.turn
		return a.name, a.err
	}
	a.asked = n.turn
	a.name, a.err = n.look(ref)
	if a.err != nil {
		a.name, a.again = Name{}, n.turn+a.wait
		a.wait = min(2*a.wait, longestWait)
	}
	return a.name, a.err
}

// look asks the runtimes that may know the container, those first whose files
// only the system writes.
func (n *Names) look(ref Ref) (Name, error) {
	if !isID(ref.ID) {
		return Name{}, fmt.Errorf("%q is no container's id", ref.ID)
	}
	var sources []func(Ref) (Name, error)
	switch {
	case ref.Pod != "" && ref.Owner == 0:
		sources = []func(Ref) (Name, error){n.kubelet, n.containerd, n.crio, n.docker}
	case ref.Pod != "": // a kubelet of a user's is a cluster of its own
	case ref.Runtime == Docker:
		sources = []func(Ref) (Name, error){n.docker}
	case ref.Runtime == Podman:
		sources = []func(Ref) (Name, error){n.podman}
	case ref.Runtime == Unknown:
		sources = []func(Ref) (Name, error){n.docker, n.podman}
	}
	var errs []error
	for _, source := range sources {
		name, err := source(ref)
		switch {
		case err == nil && name.valid():
			return name, nil
		case err == nil:
			errs = append(errs, fmt.Errorf("container %.12s: no runtime gives the name %.80q", ref.ID, name.String()))
		case !absent(err):
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return Name{}, fmt.Errorf("container %.12s has no name: %w", ref.ID, fs.ErrNotExist)
	}
	return Name{}, errors.Join(errs...)
}
