package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// report is what a load says of itself when it ends.
type report struct {
	// CPU is what getrusage(2) says that it and its children used.
	CPU time.Duration `json:"cpu_nanoseconds"`
	// Bursts that were run.
	Bursts int `json:"bursts"`
}

// longest is when a load ends though its input does not.
const longest = 10 * time.Minute

// run runs the load that args name: "burn", "serial DURATION", "burst
// DURATION" or "crowd SLEEPERS".
func run(args []string, in io.Reader, out io.Writer) error {
	before, err := used()
	if err != nil {
		return err
	}
	ended := end(in)
	var bursts int
	switch {
	case len(args) == 1 && args[0] == "burn":
		for !ended.Load() {
			spin()
		}
	case len(args) == 2 && args[0] == "burst":
		d, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		return burst(d)
	case len(args) == 2 && args[0] == "serial":
		if bursts, err = serial(args[1], ended); err != nil {
			return err
		}
	case len(args) == 2 && args[0] == "crowd":
		var sleepers int
		if _, err := fmt.Sscan(args[1], &sleepers); err != nil {
			return err
		}
		if err := crowd(sleepers, ended); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%q is no load", args)
	}
	after, err := used()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(report{CPU: after - before, Bursts: bursts})
}

// end becomes true when in ends.
func end(in io.Reader) *atomic.Bool {
	ended := new(atomic.Bool)
	go func() { _, _ = io.Copy(io.Discard, in); ended.Store(true) }()
	time.AfterFunc(longest, func() { ended.Store(true) })
	return ended
}

// serial runs processes that burn d of CPU time, one after another: a new one
// only when the earlier one was waited for.
func serial(d string, ended *atomic.Bool) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	bursts := 0
	for ; !ended.Load() || bursts == 0; bursts++ {
		if err := exec.Command(self, "burst", d).Run(); err != nil { // #nosec G204 G702 -- this program
			return bursts, err
		}
	}
	return bursts, nil
}

// burst burns until this process has used d of CPU time since it began,
// its start-up included.
func burst(d time.Duration) error {
	for {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
			return err
		}
		if time.Duration(ts.Nano()) >= d {
			return nil
		}
		spin()
	}
}

// crowd is an agent that mostly waits: sleeping children, and a millisecond of
// work twice a second.
func crowd(sleepers int, ended *atomic.Bool) error {
	runtime.LockOSThread() // a child dies with the thread that made it
	var children []*exec.Cmd
	for range sleepers {
		c := exec.Command("sleep", "600")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			return errors.Join(err, disperse(children))
		}
		children = append(children, c)
	}
	for !ended.Load() {
		for until := time.Now().Add(time.Millisecond); time.Now().Before(until); {
			spin()
		}
		time.Sleep(500 * time.Millisecond)
	}
	return disperse(children)
}

func disperse(children []*exec.Cmd) error {
	var errs []error
	for _, c := range children {
		errs = append(errs, c.Process.Kill())
		_ = c.Wait() // it was killed
	}
	return errors.Join(errs...)
}

// spin burns some 10 µs.
func spin() {
	x := uint64(1)
	for range 10_000 {
		x = x*6364136223846793005 + 1442695040888963407
	}
	sink.Store(x)
}

var sink atomic.Uint64 // keeps the compiler from leaving spin out

// used is what this process and its children have used, the waited-for ones.
func used() (time.Duration, error) {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var ru unix.Rusage
		if err := unix.Getrusage(who, &ru); err != nil {
			return 0, err
		}
		sum += time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	return sum, nil
}
