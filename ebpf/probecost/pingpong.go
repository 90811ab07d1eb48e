package probecost

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// pingPong is two cats that feed each other one byte for ever.
type pingPong struct{ cats []*exec.Cmd }

func startPingPong(cgroups []string) (_ *pingPong, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("read this process's CPUs: %w", err)
	}
	for cpu := range 1024 {
		if set.IsSet(cpu) {
			set.Zero()
			set.Set(cpu)
			break
		}
	}
	there, err := pipe()
	if err != nil {
		return nil, err
	}
	defer there.close()
	back, err := pipe()
	if err != nil {
		return nil, err
	}
	defer back.close()

	p := &pingPong{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	for i, c := range []*exec.Cmd{exec.Command("cat"), exec.Command("cat")} {
		c.Stdin, c.Stdout = there.r, back.w
		if i == 1 {
			c.Stdin, c.Stdout = back.r, there.w
		}
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if n := len(cgroups); n > 0 {
			dir, err := os.Open(cgroups[i*(n-1)]) // #nosec G304 -- the caller's cgroup
			if err != nil {
				return nil, err
			}
			defer dir.Close()
			c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(dir.Fd()) // #nosec G115 -- a descriptor
		}
		if err := c.Start(); err != nil {
			return nil, fmt.Errorf("start a ping-pong: %w", err)
		}
		p.cats = append(p.cats, c)
		if err := unix.SchedSetaffinity(c.Process.Pid, &set); err != nil {
			return nil, fmt.Errorf("pin a ping-pong: %w", err)
		}
	}
	_, err = there.w.Write([]byte{'.'})
	return p, err
}

func (p *pingPong) stop() error {
	var errs []error
	for _, c := range p.cats {
		errs = append(errs, c.Process.Kill())
		_ = c.Wait() // it says that it was killed
	}
	return errors.Join(errs...)
}

type pair struct{ r, w *os.File }

func pipe() (pair, error) {
	r, w, err := os.Pipe()
	return pair{r, w}, err
}

func (p pair) close() {
	_ = p.r.Close()
	_ = p.w.Close()
}
