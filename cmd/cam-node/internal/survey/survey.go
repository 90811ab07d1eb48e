// Package survey finds out what a person can see of this machine without the
// node: what `camctl doctor` still tells when no node answers.
package survey

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The levels of a finding.
const (
	OK       = "ok"
	Degraded = "degraded"
	Failed   = "failed"
)

// Finding is one thing that was looked at.
type Finding struct {
	Name   string `json:"name"`
	Level  string `json:"level"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

// Machine is where to look; its roots are the boundary to the hardware.
type Machine struct {
	Procfs string // /proc
	Sysfs  string // /sys
	Socket string
	// Refusal is what the node, or its socket, said; empty for no answer.
	Refusal string
	// Stranger says that the refusal is the node's, which answers, but not to
	// this caller.
	Stranger bool
	// Service is what the node said to systemd before it ended, empty where it
	// said nothing.
	Service string
	UID     int
}

// Look examines the machine. It changes nothing and needs no rights.
func (m Machine) Look() []Finding {
	findings := []Finding{m.kernel(), m.btf(), m.cgroup2(), m.powercap(), m.user()}
	if m.Service != "" {
		detail, remedy, _ := strings.Cut(m.Service, "; ")
		findings = append(findings, Finding{"service", Failed, "cam-node.service does not come up: " + detail, remedy})
	}
	return append(findings, m.socket())
}

func (m Machine) kernel() Finding {
	const name = "kernel"
	raw, err := os.ReadFile(filepath.Join(m.Procfs, "sys/kernel/osrelease"))
	if err != nil {
		return Finding{name, Failed, "cannot be read: " + reason(err), "mount proc at " + m.Procfs}
	}
	release := strings.TrimSpace(string(raw))
	major, minor, ok := version(release)
	switch {
	case !ok:
		return Finding{name, Degraded, fmt.Sprintf("Linux %q has no version that can be read", release), ""}
	case major < 5 || major == 5 && minor < 10:
		return Finding{name, Degraded, "Linux " + release, "Linux 5.10 or newer measures with eBPF; on older ones figures come from cgroup files"}
	}
	return Finding{name, OK, "Linux " + release, ""}
}

// version reads the first two numbers of a kernel release.
func version(release string) (major, minor int, ok bool) {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	digits := strings.IndexFunc(parts[1], func(r rune) bool { return r < '0' || r > '9' })
	if digits >= 0 {
		parts[1] = parts[1][:digits]
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return major, minor, err1 == nil && err2 == nil
}

func (m Machine) btf() Finding {
	path := filepath.Join(m.Sysfs, "kernel/btf/vmlinux")
	if _, err := os.Stat(path); err != nil {
		return Finding{"btf", Degraded, path + ": " + reason(err),
			"use a kernel built with CONFIG_DEBUG_INFO_BTF=y; without it figures come from cgroup files"}
	}
	return Finding{"btf", OK, path, ""}
}

func (m Machine) cgroup2() Finding {
	const name = "cgroup2"
	path := filepath.Join(m.Procfs, "self/mountinfo")
	f, err := os.Open(path) // #nosec G304 -- the root is the caller's choice
	if err != nil {
		return Finding{name, Failed, path + ": " + reason(err), "mount proc at " + m.Procfs}
	}
	defer func() { _ = f.Close() }()
	mounts := cgroup2Mounts(bufio.NewScanner(f))
	if len(mounts) == 0 {
		return Finding{name, Failed, "not mounted", "boot with systemd.unified_cgroup_hierarchy=1, or `mount -t cgroup2 none /sys/fs/cgroup/unified`"}
	}
	detail := "mounted at " + strings.Join(mounts, ", ")
	if mounts[0] != "/sys/fs/cgroup" {
		return Finding{name, Degraded, detail + " (hybrid hierarchy)",
			"measures fine; limits on CPU, I/O and memory need the unified hierarchy: boot with systemd.unified_cgroup_hierarchy=1"}
	}
	return Finding{name, OK, detail, ""}
}

// cgroup2Mounts reads mount points from mountinfo (proc(5)): the fifth field;
// the file system's type is the first one after " - ".
func cgroup2Mounts(lines *bufio.Scanner) []string {
	var mounts []string
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if ok && len(fields) >= 5 && strings.HasPrefix(after, "cgroup2 ") {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts
}

func (m Machine) powercap() Finding {
	const name = "energy meter"
	pattern := filepath.Join(m.Sysfs, "class/powercap/*/energy_uj")
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return Finding{name, Degraded, "no powercap zone under " + filepath.Join(m.Sysfs, "class/powercap"),
			"on bare metal `modprobe intel_rapl_msr`; in a virtual machine energy comes from a model"}
	}
	var refused int
	for _, path := range files {
		if _, err := os.ReadFile(path); errors.Is(err, fs.ErrPermission) { // #nosec G304 -- found under the caller's root
			refused++
		} else if err != nil {
			return Finding{name, Degraded, path + ": " + reason(err), "see `dmesg` for intel_rapl"}
		}
	}
	if refused > 0 {
		return Finding{name, OK, fmt.Sprintf("%d powercap zones, readable by root only, as it should be", len(files)), ""}
	}
	return Finding{name, OK, fmt.Sprintf("%d powercap zones", len(files)), ""}
}

func (m Machine) user() Finding {
	if m.Stranger {
		return Finding{"user", OK, fmt.Sprintf("uid %d", m.UID), ""}
	}
	if m.UID == 0 {
		return Finding{"user", OK, "root", ""}
	}
	return Finding{"user", Degraded, fmt.Sprintf("uid %d", m.UID),
		"the node measures with eBPF as root, or with CAP_BPF and CAP_PERFMON; to read, be in group cam"}
}

func (m Machine) socket() Finding {
	const name = "socket"
	if m.Stranger {
		detail, remedy, _ := strings.Cut(m.Refusal, ": ")
		if strings.HasPrefix(detail, "agent ") {
			name, _, _ := strings.Cut(detail, " may not")
			detail, remedy = "you are "+name+", and this is for people", "run camctl outside the agent's cgroup"
		}
		return Finding{"access", Degraded, "the node answers at " + m.Socket + ", but " + detail, remedy}
	}
	if m.Refusal != "" {
		return Finding{name, Failed, m.Refusal, ""}
	}
	info, err := os.Stat(m.Socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Finding{name, Failed, m.Socket + " does not exist", "start the node with `make run` or `systemctl start cam-node`"}
	case err != nil:
		return Finding{name, Failed, m.Socket + ": " + reason(err), "members of group cam may read: `sudo usermod -aG cam $USER`, then log in again"}
	case info.Mode()&fs.ModeSocket == 0:
		return Finding{name, Failed, m.Socket + " is no socket", "name the node's socket with --socket"}
	}
	return Finding{name, Failed, m.Socket + " exists, but no node answers there", "see the node's log: `journalctl -u cam-node`, or start it anew"}
}

// reason is the bare cause, since the path is named already.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
