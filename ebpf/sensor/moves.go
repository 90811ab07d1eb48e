package sensor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/cam-os/edge/ebpf/cgroup"
)

// Kinds of schedMove (bpf/moves.h).
const (
	moveThread = iota
	moveProcess
	moveFork
)

// moveLog reads the moves that the kernel recorded.
type moveLog struct {
	ring *ringbuf.Reader
	full *ebpf.Map // how many there were no room for
	held []Move    // whose cgroups were not yet known
}

func openMoveLog(m *schedMaps) (*moveLog, error) {
	r, err := ringbuf.NewReader(m.Moves)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's record of moves: %w", err)
	}
	r.SetDeadline(time.Unix(1, 0)) // long ago: never wait
	return &moveLog{ring: r, full: m.MovesLost}, nil
}

func (l *moveLog) Close() error {
	if l == nil {
		return nil
	}
	return l.ring.Close()
}

// drain takes what there is: the moves, and for each thread that was moved with
// what it had done by then.
func (l *moveLog) drain() (moves []Move, tasks []movedTask, err error) {
	var rec ringbuf.Record
	for {
		err := l.ring.ReadInto(&rec)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return moves, tasks, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the kernel's record of moves: %w", err)
		}
		var m schedMove
		if uintptr(len(rec.RawSample)) != unsafe.Sizeof(m) {
			return nil, nil, fmt.Errorf("read the kernel's record of moves: %d bytes", len(rec.RawSample))
		}
		if _, err := binary.Decode(rec.RawSample, binary.NativeEndian, &m); err != nil {
			return nil, nil, fmt.Errorf("read the kernel's record of moves: %w", err)
		}
		tasks = append(tasks, movedTask{
			Key:  taskKey{m.Key.Start, m.Key.Tid},
			From: cgroup.ID(m.From), To: cgroup.ID(m.To),
			Bytes: ioBytes{m.Bytes.Read, m.Bytes.Written},
		})
		if m.Kind != moveThread {
			moves = append(moves, m.move())
		}
	}
}

func (m schedMove) move() Move {
	return Move{
		At:  time.Duration(m.At),                                               // #nosec G115 -- nanoseconds since boot
		TID: int(m.Key.Tid), Process: int(m.Process), Command: text(m.Command), // #nosec G115 -- a thread id
		From: cgroup.ID(m.From), To: cgroup.ID(m.To),
		Fork: m.Kind == moveFork,
		By:   int(m.By), ByCommand: text(m.ByCommand),
	}
}

// text is a C string.
func text(c [16]int8) string {
	b := make([]byte, len(c))
	for i, v := range c {
		b[i] = byte(v) // #nosec G115 -- a char
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// known picks the moves to show: a cgroup that the snapshot has no parent of,
// because it was recorded after those were read, is in the next one.
func (l *moveLog) known(moves []Move, parents map[cgroup.ID]cgroup.ID) []Move {
	out := l.held
	l.held = nil
	for i, m := range moves {
		if !within(m.From, parents) || !within(m.To, parents) {
			l.held = moves[i:] // and those after it, to keep the order
			break
		}
		out = append(out, m)
	}
	return out
}

func within(id cgroup.ID, parents map[cgroup.ID]cgroup.ID) bool {
	_, ok := parents[id]
	return ok || id == cgroup.Root || id == 0
}

// lost is how many moves found no room, ever.
func (l *moveLog) lost() (uint64, error) {
	var n uint64
	if err := l.full.Lookup(uint32(0), &n); err != nil {
		return 0, fmt.Errorf("read how many moves were lost: %w", err)
	}
	return n, nil
}

// findHomes tells the kernel's programs where all processes are by now.
func findHomes(p *ebpf.Program) error {
	it, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return fmt.Errorf("find where processes are: %w", err)
	}
	r, err := it.Open()
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		err = errors.Join(err, r.Close())
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return fmt.Errorf("find where processes are: %w", err)
	}
	return nil
}
