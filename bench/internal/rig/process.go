package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime is what a process has used, all its threads, in nanoseconds where
// /proc has ticks of 10 ms. It reads the process's CPU-time clock, whose id
// clock_getcpuclockid(3) makes of the pid.
func CPUTime(pid int) (time.Duration, error) {
	var ts unix.Timespec
	const sched = 2                                                      // CPUCLOCK_SCHED, include/linux/posix-timers.h
	if err := unix.ClockGettime(int32(^pid)<<3|sched, &ts); err != nil { // #nosec G115 -- a pid of the kernel
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// Memory of a process in bytes: all that is resident, and what of it is no
// file's.
func Memory(pid int) (resident, anonymous int64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	resident, err = field(data, "VmRSS:")
	if err != nil {
		return 0, 0, err
	}
	anonymous, err = field(data, "RssAnon:")
	return resident << 10, anonymous << 10, err // kB
}

// Written is what a process had the kernel write to storage, in bytes
// (write_bytes of /proc/PID/io: pages that it made dirty).
func Written(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	return field(data, "write_bytes:")
}

func field(data []byte, name string) (int64, error) {
	for line := range bytes.Lines(data) {
		if v, ok := bytes.CutPrefix(line, []byte(name)); ok {
			if f := bytes.Fields(v); len(f) > 0 {
				return strconv.ParseInt(string(f[0]), 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("there is no %s", name)
}

// Device is what lies below a directory.
type Device struct{ stat string }

// DeviceOf finds the block device of a directory, whose statistics count
// everything: journals, metadata, and what other programs write.
func DeviceOf(dir string) (Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return Device{}, err
	}
	d := Device{fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev))}
	if _, err := os.Stat(d.stat); err != nil {
		return Device{}, errors.New("the file system is on no block device that the kernel counts")
	}
	return d, nil
}

// Written is what was ever written to the device, in bytes
// (Documentation/block/stat.rst: the seventh field, in sectors of 512).
func (d Device) Written() (int64, error) {
	data, err := os.ReadFile(d.stat)
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(data))
	if len(f) < 7 {
		return 0, fmt.Errorf("%s has %d fields", d.stat, len(f))
	}
	n, err := strconv.ParseInt(f[6], 10, 64)
	return n * 512, err
}

// Peer is another exporter, to compare with.
type Peer struct {
	Version string
	PID     int
	Metrics string
	cmd     *exec.Cmd
}

// ErrNoPeer says that the exporter to compare with is not installed.
var ErrNoPeer = errors.New("prometheus-node-exporter is not installed")

// StartPeer starts Debian's prometheus-node-exporter on loopback, as it is
// configured by default.
func (r *Rig) StartPeer(ctx context.Context) (*Peer, error) {
	path, err := exec.LookPath("prometheus-node-exporter")
	if err != nil {
		return nil, ErrNoPeer
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p := &Peer{Metrics: "http://" + address + "/metrics"}
	text, err := exec.CommandContext(ctx, path, "--version").CombinedOutput() // #nosec G204 -- found in PATH
	if err != nil {
		return nil, err
	}
	if f := strings.Fields(string(text)); len(f) > 2 {
		p.Version = strings.TrimSuffix(f[2], ",")
	}
	empty := filepath.Join(r.Dir, "textfile")
	if err := os.MkdirAll(empty, 0o700); err != nil {
		return nil, err
	}
	p.cmd = exec.Command(path, "--web.listen-address="+address, "--collector.textfile.directory="+empty) // #nosec G204 -- as above
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.PID = p.cmd.Process.Pid
	for until := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, _, err := Scrape(ctx, p.Metrics)
		if err == nil {
			return p, nil
		}
		if time.Now().After(until) || ctx.Err() != nil {
			p.Stop()
			return nil, err
		}
	}
}

// Stop ends it.
func (p *Peer) Stop() { _ = stop(p.cmd) } // it ends by the signal
