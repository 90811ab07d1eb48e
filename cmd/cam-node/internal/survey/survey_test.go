package survey

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine lays a tree out: files by path, below one root for /proc and /sys.
func machine(t *testing.T, files map[string]string) Machine {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Machine{Procfs: filepath.Join(root, "proc"), Sysfs: filepath.Join(root, "sys"), Socket: filepath.Join(root, "cam.sock")}
}

func find(t *testing.T, findings []Finding, name string) Finding {
	t.Helper()
	for _, f := range findings {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no finding %q", name)
	return Finding{}
}

const (
	unified = "25 1 0:23 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
	hybrid  = "24 1 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n25 24 0:23 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup rw\n"
)

func TestLookSaysWhatTheServiceSaid(t *testing.T) {
	m := machine(t, nil)
	m.Service = "state.db has schema 2; run that version"
	f := find(t, m.Look(), "service")
	if f.Level != Failed || !strings.Contains(f.Detail, "schema 2") || f.Remedy != "run that version" {
		t.Errorf("found %+v", f)
	}
}

func TestLook(t *testing.T) {
	for _, c := range []struct {
		name, finding string
		files         map[string]string
		uid           int
		level, detail string
	}{
		{"new kernel", "kernel", map[string]string{"proc/sys/kernel/osrelease": "6.18.44-vm\n"}, 0, OK, "Linux 6.18.44-vm"},
		{"two numbers", "kernel", map[string]string{"proc/sys/kernel/osrelease": "6.1+\n"}, 0, OK, "Linux 6.1+"},
		{"old kernel", "kernel", map[string]string{"proc/sys/kernel/osrelease": "5.4.0-1"}, 0, Degraded, "Linux 5.4"},
		{"odd kernel", "kernel", map[string]string{"proc/sys/kernel/osrelease": "plan9"}, 0, Degraded, "no version"},
		{"odd numbers", "kernel", map[string]string{"proc/sys/kernel/osrelease": "six.one"}, 0, Degraded, "no version"},
		{"no proc", "kernel", nil, 0, Failed, "no such file"},
		{"btf", "btf", map[string]string{"sys/kernel/btf/vmlinux": "\x9f\xeb"}, 0, OK, "vmlinux"},
		{"no btf", "btf", nil, 0, Degraded, "no such file"},
		{"unified", "cgroup2", map[string]string{"proc/self/mountinfo": unified}, 0, OK, "mounted at /sys/fs/cgroup"},
		{"hybrid", "cgroup2", map[string]string{"proc/self/mountinfo": hybrid}, 0, Degraded, "hybrid"},
		{"only v1", "cgroup2", map[string]string{"proc/self/mountinfo": "24 1 0:22 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw\nrubbish\n - \n"}, 0, Failed, "not mounted"},
		{"no mountinfo", "cgroup2", nil, 0, Failed, "no such file"},
		{"rapl", "energy meter", map[string]string{"sys/class/powercap/intel-rapl:0/energy_uj": "1\n"}, 0, OK, "1 powercap zones"},
		{"no rapl", "energy meter", nil, 0, Degraded, "no powercap zone"},
		{"root", "user", nil, 0, OK, "root"},
		{"people", "user", nil, 1000, Degraded, "uid 1000"},
		{"no socket", "socket", nil, 0, Failed, "does not exist"},
		{"a file", "socket", map[string]string{"cam.sock": ""}, 0, Failed, "is no socket"},
		{"below a file", "socket", map[string]string{"cam.sock": ""}, 0, Failed, "is no socket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machine(t, c.files)
			m.UID = c.uid
			f := find(t, m.Look(), c.finding)
			if f.Level != c.level || !strings.Contains(f.Detail, c.detail) {
				t.Errorf("got %+v", f)
			}
			if f.Level == Failed && f.Remedy == "" {
				t.Errorf("%s failed without a remedy", f.Name)
			}
		})
	}
}

func TestSocketStates(t *testing.T) {
	m := machine(t, nil)
	l, err := net.Listen("unix", m.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if f := m.socket(); !strings.Contains(f.Detail, "no node answers there") {
		t.Errorf("got %+v", f)
	}
	m.Refusal = "the node refused: uid 7 may not"
	if f := m.socket(); f.Detail != m.Refusal || f.Level != Failed {
		t.Errorf("got %+v", f)
	}
	m.Stranger, m.Refusal = true, "uid 7 may not use this node: usermod -aG cam USER"
	if f := m.socket(); f.Name != "access" || f.Level != Degraded || !strings.HasSuffix(f.Detail, "but uid 7 may not use this node") || f.Remedy != "usermod -aG cam USER" {
		t.Errorf("got %+v", f)
	}
	m.Refusal = "agent a may not do this: it is for people"
	if f := m.socket(); !strings.HasSuffix(f.Detail, "but you are agent a, and this is for people") || !strings.Contains(f.Remedy, "outside") {
		t.Errorf("got %+v", f)
	}
	m.Stranger, m.Refusal, m.Socket = false, "", filepath.Join(m.Socket, "below")
	if f := m.socket(); f.Level != Failed || !strings.Contains(f.Detail, "not a directory") {
		t.Errorf("got %+v", f)
	}
}

// A directory stands for a file that exists and cannot be read, also for root.
func TestAFaultyMeterIsSeen(t *testing.T) {
	m := machine(t, map[string]string{"sys/class/powercap/intel-rapl:0/energy_uj/x": ""})
	if f := m.powercap(); f.Level != Degraded || !strings.Contains(f.Detail, "is a directory") {
		t.Errorf("got %+v", f)
	}
}

func TestThisMachine(t *testing.T) {
	m := Machine{Procfs: "/proc", Sysfs: "/sys", Socket: "/nonexistent", UID: os.Getuid()}
	if f := find(t, m.Look(), "kernel"); f.Level == Failed {
		t.Errorf("got %+v", f)
	}
}
