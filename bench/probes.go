package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/cam-os/edge/bench/internal/rig"
	"github.com/cam-os/edge/ebpf/probecost"
)

// pipe passes a byte between two processes on one CPU: hardly anything but
// switches, the worst case for a program at sched_switch. It returns the CPU
// time of one pass, of both processes, the kernel's work and its programs
// included: unlike the time on the clock, it leaves out what other programs
// take.
func pipe(ctx context.Context, loops int) (perOperation time.Duration, err error) {
	c := exec.CommandContext(ctx, "taskset", "-c", "0", "perf", "bench", "sched", "pipe", "-l", strconv.Itoa(loops)) // #nosec G204 -- constants
	if out, err := c.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("perf bench sched pipe: %w: %s", err, out)
	}
	return (c.ProcessState.UserTime() + c.ProcessState.SystemTime()) / time.Duration(loops), nil
}

// empty is a program at sched_switch that does nothing: what any program costs.
type empty struct {
	program *ebpf.Program
	link    link.Link
}

func attachEmpty() (*empty, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "empty", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sched_switch", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return nil, err
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &empty{p, l}, nil
}

func (e *empty) Close() error { return errors.Join(e.link.Close(), e.program.Close()) }

func (b *bench) probes(ctx context.Context) error {
	runs, loops := 7, 100_000
	if b.quick {
		runs, loops = 3, 50_000
	}
	for _, tool := range []string{"perf", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing (Debian's linux-perf and util-linux): %w", tool, err)
		}
	}
	if err := b.slowdown(ctx, runs, loops); err != nil {
		return err
	}
	return b.perEvent(2*runs + 1)
}

// slowdown runs the pipe by turns: with nothing, with an empty program, with
// the node.
func (b *bench) slowdown(ctx context.Context, runs, loops int) error {
	setups := []func() (io.Closer, error){
		func() (io.Closer, error) { return io.NopCloser(nil), nil },
		func() (io.Closer, error) { return attachEmpty() },
		func() (io.Closer, error) {
			n, err := b.rig.StartNode(ctx, "")
			return closer{n}, err
		},
	}
	took := make([][]time.Duration, len(setups))
	for range runs {
		for i, set := range setups {
			c, err := set()
			if err != nil {
				return err
			}
			d, err := pipe(ctx, loops)
			if err := errors.Join(err, c.Close()); err != nil {
				return err
			}
			took[i] = append(took[i], d)
		}
	}
	off, idle, on := median(took[0]), median(took[1]), median(took[2])
	b.add(row{
		What:     "perf bench sched pipe on one CPU: CPU time with the node ÷ without",
		Measured: fmt.Sprintf("%.2f times", float64(on)/float64(off)),
		Against: fmt.Sprintf("%.2f times with an empty program; medians of %d runs by turns: %.2f µs, %.2f µs and %.2f µs of CPU time per pass of two switches",
			float64(idle)/float64(off), runs, float64(off)/1e3, float64(idle)/1e3, float64(on)/1e3),
	})
	return nil
}

type closer struct{ *rig.Node }

func (c closer) Close() error { return c.Stop() }

// perEvent compares the sensor's program with an empty one.
func (b *bench) perEvent(rounds int) error {
	r, err := probecost.Measure(probecost.Config{Rounds: rounds})
	if err != nil {
		return err
	}
	for _, one := range []struct {
		name         string
		above, whole time.Duration
		limit        time.Duration
	}{
		{"waits included", r.Above(), r.Sensor, 320 * time.Nanosecond},
		{"without waits", r.NoWaitsAbove(), r.NoWaits, 130 * time.Nanosecond},
	} {
		b.add(row{
			What:     "The sum of the sensor's scheduler programs (one, at sched_switch) above an empty one, " + one.name,
			Measured: fmt.Sprintf("%d ns per switch", one.above.Nanoseconds()), Target: fmt.Sprintf("≤ %d ns", one.limit.Nanoseconds()), Met: verdict(one.above <= one.limit),
			Against: fmt.Sprintf("the cheapest of %d rounds by turns on a ping-pong: %d ns and %d ns, the kernel's own measuring included; Kepler's 3,173 ns (published)",
				rounds, one.whole.Nanoseconds(), r.Empty.Nanoseconds()),
		})
	}
	return nil
}
