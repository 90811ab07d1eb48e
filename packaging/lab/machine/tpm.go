package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tpm is a software TPM 2.0 (swtpm) with its state below one directory. The
// state lasts; the process does not: a TPM is reset with its machine.
type tpm struct {
	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
	stderr tail
}

// manufacture makes a TPM as a maker does: endorsement keys by the TCG EK
// profile, and their certificates, by a certificate authority of its own in
// DIR/ca. dir must be absolute and short; nothing outside of it is written.
func manufacture(dir string) (*tpm, error) {
	for name, lines := range map[string][]string{
		"setup.conf": {
			"create_certs_tool=swtpm_localca",
			"create_certs_tool_config=" + dir + "/localca.conf",
			"create_certs_tool_options=" + dir + "/localca.options",
		},
		"localca.conf": {
			"statedir=" + dir + "/ca",
			"signingkey=" + dir + "/ca/signkey.pem",
			"issuercert=" + dir + "/ca/issuercert.pem",
			"certserial=" + dir + "/ca/certserial",
		},
		"localca.options": {"--platform-manufacturer CAM-OS", "--platform-version 1", "--platform-model lab"},
	} {
		if err := errors.Join(
			os.MkdirAll(dir+"/ca", 0o700), os.MkdirAll(dir+"/state", 0o700),
			os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o600),
		); err != nil {
			return nil, err
		}
	}
	c := exec.Command("swtpm_setup", "--tpm2", "--tpmstate", dir+"/state", "--config", dir+"/setup.conf",
		"--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--pcr-banks", "sha256") // #nosec G204 -- a directory of the lab's
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("swtpm_setup: %w\n%s", err, out)
	}
	return &tpm{dir: dir}, nil
}

// socket is where QEMU finds it.
func (t *tpm) socket() string { return t.dir + "/sock" }

// on switches it on, and waits until QEMU can connect. It goes off by itself
// when QEMU goes.
func (t *tpm) on() error {
	if err := os.Remove(t.socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	t.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+t.dir+"/state",
		"--ctrl", "type=unixio,path="+t.socket(), "--terminate") // #nosec G204 -- the same
	t.cmd.Stderr = &t.stderr
	t.cmd.SysProcAttr = mortal()
	if err := t.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	t.exited = exited
	go func(c *exec.Cmd) {
		_ = c.Wait() // how it ends says nothing: off kills it
		close(exited)
	}(t.cmd)
	for {
		if listening(t.socket()) {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("swtpm did not start: %s", &t.stderr)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// off waits until it has gone off, after the machine: before, it takes the
// power away.
func (t *tpm) off() {
	if t.cmd == nil {
		return
	}
	select {
	case <-t.exited:
	case <-time.After(2 * time.Second):
		_ = t.cmd.Process.Kill()
		<-t.exited
	}
	t.cmd = nil
}

// listening says whether somebody accepts connections at a socket, without
// making one: swtpm ends with its first. The fourth field of /proc/net/unix is
// __SO_ACCEPTCON then (net/unix/af_unix.c, unix_seq_show).
func listening(socket string) bool {
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) == 8 && f[7] == socket && f[3] == "00010000" {
			return true
		}
	}
	return false
}
