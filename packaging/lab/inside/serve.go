package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cam-os/edge/packaging/lab/wire"
)

// serve answers until the port is closed, which is never.
func serve() error {
	port, err := openPort()
	if err != nil {
		return err
	}
	defer port.Close()
	var mu sync.Mutex
	lines := bufio.NewReader(port)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // nobody is connected at the other end
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if err != nil {
			return err
		}
		var req wire.Request
		if json.Unmarshal(line, &req) != nil {
			continue // the rest of a line that an earlier lab did not finish
		}
		go func() {
			out, err := json.Marshal(answer(req))
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			_, _ = port.Write(append(out, '\n'))
		}()
	}
}

// openPort finds the port by the name that sysfs gives, which needs no udev.
func openPort() (*os.File, error) {
	const class = "/sys/class/virtio-ports/"
	for range 300 {
		ports, _ := os.ReadDir(class)
		for _, p := range ports {
			name, err := os.ReadFile(class + p.Name() + "/name")
			if err == nil && strings.TrimSpace(string(name)) == wire.Port {
				return os.OpenFile("/dev/"+p.Name(), os.O_RDWR, 0)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("no virtio-serial port is called %s", wire.Port)
}

// answer runs a script. Its output goes to files, so that what it leaves in
// the background holds nothing up.
func answer(req wire.Request) wire.Reply {
	reply := wire.Reply{ID: req.ID, Code: 125}
	failed := func(err error) wire.Reply {
		reply.Stderr = append(reply.Stderr, "lab: "+err.Error()+"\n"...)
		return reply
	}
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp("/run", "lab")
		if err != nil {
			return failed(err)
		}
		defer f.Close()
		if err := os.Remove(f.Name()); err != nil {
			return failed(err)
		}
		files[i] = f
	}
	limit := time.Duration(req.Seconds * float64(time.Second))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := exec.CommandContext(ctx, "/bin/bash", "-o", "pipefail", "-euc", req.Script) // #nosec G204 -- what this program is for
	c.Stdin = strings.NewReader(string(req.Stdin))
	c.Stdout, c.Stderr = files[0], files[1]
	c.Dir = "/root"
	c.Env = append(os.Environ(), "PATH=/lab:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	err := c.Run()
	var exit *exec.ExitError
	switch status, _ := sysStatus(c); {
	case ctx.Err() != nil:
		reply.Code = 124
		err = fmt.Errorf("killed after %v", limit)
	case status.Signaled():
		reply.Code, err = 128+int(status.Signal()), nil
	case err == nil || errors.As(err, &exit):
		reply.Code, err = c.ProcessState.ExitCode(), nil
	}
	reply.Stdout, reply.Stderr = contents(files[0]), contents(files[1])
	if err != nil {
		return failed(err)
	}
	return reply
}

func sysStatus(c *exec.Cmd) (syscall.WaitStatus, bool) {
	if c.ProcessState == nil {
		return 0, false
	}
	s, ok := c.ProcessState.Sys().(syscall.WaitStatus)
	return s, ok
}

// contents is what was written, at most a megabyte.
func contents(f *os.File) []byte {
	out, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		return []byte(err.Error())
	}
	return out
}
