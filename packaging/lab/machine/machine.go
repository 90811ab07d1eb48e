// Package machine makes and drives virtual devices: a Debian image, a QEMU
// under software emulation, and a channel to run scripts inside.
package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cam-os/edge/packaging/lab/wire"
)

// Config of a machine. Kernel and Arch are needed.
type Config struct {
	// Arch is amd64 or arm64, as Go calls them.
	Arch string
	// Kernel and Initrd are files; Append is added to the command line.
	Kernel, Initrd, Append string
	// Disks are the values of QEMU's -drive, without if and id.
	Disks []string
	// Variables is a file with UEFI variables, and makes the machine boot
	// through UEFI: the firmware starts the kernel as an EFI program, and
	// measures it when there is a TPM. Empty: QEMU starts the kernel itself.
	Variables string
	// TPM is the control socket of a swtpm that nobody has used since it was
	// started; empty: the machine has none.
	TPM string
	// Memory in MiB; 0 means 1024.
	Memory int
	// CPUs; 0 means 2.
	CPUs int
	// Forward makes a TCP port of the guest reachable on a loopback port of
	// the lab's choice; see Guest.Address. The guest reaches nothing.
	Forward int
	// Args are added to QEMU's.
	Args []string
	// Console is told what the guest writes there; nil: nobody.
	Console io.Writer
	// Dir is for the socket; its path must be short, as those of unix sockets
	// must.
	Dir string
}

// Guest is a machine that runs.
type Guest struct {
	// Address reaches the forwarded port.
	Address string

	cmd     *exec.Cmd
	console tail
	channel *channel
	exited  chan struct{}
	err     error
}

// qemu lists what differs between architectures. thread=single: with
// thread=multi, attaching to sched_switch again and again crashes guests.
func (c Config) qemu() (program string, args []string, err error) {
	switch c.Arch {
	case "amd64":
		return "qemu-system-x86_64", []string{"-cpu", "max", "-vga", "none"}, nil
	case "arm64":
		return "qemu-system-aarch64", []string{"-machine", "virt", "-cpu", "cortex-a57"}, nil
	}
	return "", nil, fmt.Errorf("no guests of architecture %q", c.Arch)
}

// tty is what the kernel of an architecture calls its first serial port.
func (c Config) tty() string {
	if c.Arch == "arm64" {
		return "ttyAMA0"
	}
	return "ttyS0"
}

// arguments are QEMU's, with a loopback port for Forward.
func (c Config) arguments(port int) (program string, args []string, err error) {
	program, args, err = c.qemu()
	if err != nil {
		return "", nil, err
	}
	args = append(args,
		"-accel", "tcg,thread=single", "-smp", strconv.Itoa(cmp.Or(c.CPUs, 2)), "-m", strconv.Itoa(cmp.Or(c.Memory, 1024)),
		"-no-reboot", "-display", "none", "-monitor", "none", "-serial", "stdio",
		"-kernel", c.Kernel, "-append", strings.TrimSpace("console="+c.tty()+" panic=-1 "+c.Append),
		"-device", "virtio-serial-pci", "-chardev", "socket,id=ctl,server=on,wait=off,path="+c.socket(),
		"-device", "virtserialport,chardev=ctl,name="+wire.Port,
		"-device", "virtio-rng-pci",
	)
	if c.Initrd != "" {
		args = append(args, "-initrd", c.Initrd)
	}
	if c.Variables != "" {
		args = append(args, firmwares[c.Arch].drives(c.Variables)...)
	}
	if c.TPM != "" {
		device := map[string]string{"amd64": "tpm-tis", "arm64": "tpm-tis-device"}[c.Arch]
		args = append(args, "-chardev", "socket,id=tpm,path="+c.TPM, "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", device+",tpmdev=tpm0")
	}
	for i, d := range c.Disks {
		args = append(args, "-drive", fmt.Sprintf("if=none,id=d%d,%s", i, d), "-device", fmt.Sprintf("virtio-blk-pci,drive=d%d", i))
	}
	if c.Forward == 0 {
		args = append(args, "-nic", "none")
	} else {
		args = append(args, "-netdev", fmt.Sprintf("user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:%d-:%d", port, c.Forward),
			"-device", "virtio-net-pci,netdev=n0,romfile=")
	}
	return program, append(args, c.Args...), nil
}

func (c Config) socket() string { return filepath.Join(c.Dir, "ctl") }

// Start starts a machine and returns at once.
func Start(c Config) (*Guest, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	program, args, err := c.arguments(port)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(c.socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err // of an earlier start
	}
	g := &Guest{exited: make(chan struct{}), cmd: exec.Command(program, args...)} // #nosec G204 -- the lab's own arguments
	if c.Forward != 0 {
		g.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	g.cmd.SysProcAttr = mortal()
	stderr := &tail{}
	g.cmd.Stdout, g.cmd.Stderr = &g.console, stderr
	if c.Console != nil {
		g.cmd.Stdout = io.MultiWriter(&g.console, c.Console)
	}
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		if err := g.cmd.Wait(); err != nil {
			g.err = fmt.Errorf("%s: %w\n%s", program, err, stderr)
		}
		close(g.exited)
	}()
	if g.channel, err = dial(c.socket(), g.exited); err != nil {
		return nil, errors.Join(err, g.Kill(), g.err)
	}
	return g, nil
}

// freePort is a port that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Ready waits until the guest answers.
func (g *Guest) Ready(ctx context.Context) error {
	r, err := g.Run(ctx, "true", nil, time.Minute)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("`true` in the guest gave %d: %s", r.Code, r.Stderr)
	}
	if err != nil {
		return fmt.Errorf("the guest does not answer: %w\n%s", err, g.Console())
	}
	return nil
}

// Console returns the end of what the kernel and the service manager wrote.
func (g *Guest) Console() string { return g.console.String() }

// Exited is closed when the machine is off.
func (g *Guest) Exited() <-chan struct{} { return g.exited }

// Kill takes the power away.
func (g *Guest) Kill() error {
	if g.channel != nil {
		_ = g.channel.conn.Close()
	}
	err := g.cmd.Process.Kill()
	<-g.exited
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// tail keeps the end of what is written.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 8 << 10
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*most {
		t.buf = append([]byte(nil), t.buf[len(t.buf)-most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// mortal: a test that is killed leaves no machine behind.
func mortal() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
