package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/packaging/lab/wire"
)

const (
	stateDir = "/state"
	agentDir = "/sys/fs/cgroup/agent"
)

// powercut is process 1 of a guest whose power is cut. It runs a node on the
// disk and tells the console what the node had after the start, and what each
// commit covers.
func powercut() error {
	if err := mountAll(append(kernelFileSystems, mount{"tmpfs", "/run"}, mount{"tmpfs", "/tmp"}, mount{"cgroup2", "/sys/fs/cgroup"})); err != nil {
		return err
	}
	if err := modules(); err != nil {
		return err
	}
	if err := loopback(); err != nil {
		return err
	}
	if err := mountDisk(stateDir); err != nil {
		return err
	}
	// What is on the disk is sound before the node mends anything.
	if _, err := os.Stat(stateDir + "/state.db"); err == nil {
		check := &exec.Cmd{Path: "/cam-node", Args: []string{"camctl", "store", "check", stateDir}}
		if out, err := check.CombinedOutput(); err != nil {
			return fmt.Errorf("the store is damaged: %w: %q", err, out)
		}
	}
	if err := prepareAgent(); err != nil {
		return err
	}
	config := fmt.Sprintf(`{state_dir: %s, socket: /run/cam.sock, interval: 100ms, sensor: {source: cgroup},
metrics: {address: "127.0.0.1:9465"}, store: {commit_every: 1s}, agents: {known: [{name: b, cgroup: /agent}]}}`, stateDir)
	if err := os.WriteFile("/node.yaml", []byte(config), 0o600); err != nil {
		return err
	}
	daemon := exec.Command("/cam-node", "run", "--config", "/node.yaml")
	daemon.Stdout, daemon.Stderr = os.Stdout, os.Stdout
	if err := daemon.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	return errors.Join(watch(ended), errors.New("the node ended"))
}

// watch reports until the power goes. What one look showed is covered by a
// commit that a later look shows and the first did not: the commit began after.
func watch(ended <-chan error) error {
	const commits = "cam_store_commits_total{}"
	var last map[string]float64
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(20 * time.Millisecond):
		}
		now, err := scrape(node)
		if _, up := now[wire.Stake]; err != nil || !up {
			continue
		}
		switch {
		case last == nil:
			say(wire.Started, now)
			if err := startAgent(); err != nil {
				return err
			}
		case now[commits] > last[commits]:
			say(wire.Committed, last)
		}
		last = now
	}
}

// say writes one line to the console.
func say(what string, figures map[string]float64) {
	line, err := json.Marshal(figures)
	if err != nil {
		line = []byte(err.Error())
	}
	fmt.Printf("\n%s %s\n", what, line)
}

// loopback brings the interface up.
func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}

// prepareAgent makes a cgroup that gets a third of a CPU: the node is to have
// the rest.
func prepareAgent() error {
	return errors.Join(
		os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu"), 0),
		os.Mkdir(agentDir, 0o755), // #nosec G301 -- a cgroup
		os.WriteFile(agentDir+"/cpu.max", []byte("30000 100000"), 0),
	)
}

// startAgent starts what uses CPU time, once it is known what the node had
// before: an account that begins anew cannot have caught up by then.
func startAgent() error {
	dir, err := os.Open(agentDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	c := exec.Command("/init", "spin")
	c.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())} // #nosec G115 -- a descriptor
	return c.Start()
}

// spin uses CPU time for ever.
func spin() {
	for {
		continue
	}
}
