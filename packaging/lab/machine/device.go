package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Device is a guest with systemd, and the directory with its disks. It boots
// through UEFI and has a TPM 2.0 with endorsement certificates, so that the
// kernel has an event log of a measured boot.
type Device struct {
	// Guest is the machine since the latest boot.
	*Guest
	Image *Image

	config Config
	tpm    *tpm
	dir    string
}

// String names the device for people.
func (d *Device) String() string {
	return fmt.Sprintf("%s/%s, kernel %s", d.Image.Suite, d.Image.Arch, d.Image.Release)
}

// Boot boots a copy of an image with the files given at /lab, the lab's own
// program among them, and waits until it has booted. The TCP port is forwarded.
func Boot(ctx context.Context, img *Image, files map[string]string, port int, log io.Writer) (*Device, error) {
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		return nil, err
	}
	d := &Device{Image: img, dir: dir}
	if err := d.boot(ctx, files, port, log); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Device) boot(ctx context.Context, files map[string]string, port int, log io.Writer) error {
	disk, payload, inside := filepath.Join(d.dir, "disk.img"), filepath.Join(d.dir, "lab.img"), filepath.Join(d.dir, "inside")
	if err := GoBuild(d.Image.Arch, "./packaging/lab/inside", inside); err != nil {
		return err
	}
	all := map[string]string{"inside": inside}
	for name, file := range files {
		all[name] = file
	}
	if err := Payload(payload, all); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", d.Image.Disk, disk).CombinedOutput(); err != nil { // #nosec G204 -- our own files
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	variables := filepath.Join(d.dir, "variables.fd")
	if err := newVariables(d.Image.Arch, variables); err != nil {
		return err
	}
	var err error
	if d.tpm, err = manufacture(filepath.Join(d.dir, "tpm")); err != nil {
		return err
	}
	d.config = Config{
		Arch: d.Image.Arch, Kernel: d.Image.Kernel, Initrd: d.Image.Initrd, Dir: d.dir, Forward: port,
		Variables: variables, TPM: d.tpm.socket(),
		Append: "root=/dev/vda rw quiet",
		Disks: []string{
			"format=raw,cache=unsafe,file=" + disk,
			"format=raw,readonly=on,file=" + payload,
		},
	}
	return d.start(ctx, log)
}

func (d *Device) start(ctx context.Context, log io.Writer) error {
	started := time.Now()
	if err := d.tpm.on(); err != nil {
		return err
	}
	g, err := Start(d.config)
	if err != nil {
		return err
	}
	d.Guest = g
	if err := g.Ready(ctx); err != nil {
		return err
	}
	// "degraded" is for the scenarios to judge.
	if _, err := g.Run(ctx, "systemctl is-system-running --wait || true", nil, 5*time.Minute); err != nil {
		return err
	}
	if r, err := g.Run(ctx, network, nil, 5*time.Minute); err != nil || r.Code != 0 {
		return errors.Join(fmt.Errorf("no network in the guest: %s", r.Stderr), err)
	}
	fmt.Fprintf(log, "lab: %s, has booted after %v\n", d, time.Since(started).Round(100*time.Millisecond))
	return nil
}

// Authority is the directory of the certificate authority that vouches for the
// TPM's endorsement keys: issuercert.pem and swtpm-localca-rootca-cert.pem.
func (d *Device) Authority() string { return filepath.Join(d.tpm.dir, "ca") }

// Reboot shuts the guest down in order and boots it anew: with the same disks,
// UEFI variables and TPM, which has been reset. Address changes.
func (d *Device) Reboot(ctx context.Context, log io.Writer) error {
	if _, err := d.Run(ctx, "systemctl --no-block reboot", nil, time.Minute); err != nil {
		return err
	}
	select {
	case <-d.Exited(): // QEMU leaves instead of rebooting
	case <-ctx.Done():
		return fmt.Errorf("the guest does not shut down: %w\n%s", ctx.Err(), d.Console())
	}
	return errors.Join(d.stop(), d.start(ctx, log))
}

// stop takes the power away.
func (d *Device) stop() error {
	var err error
	if d.Guest != nil {
		err = d.Kill()
	}
	if d.tpm != nil {
		d.tpm.off()
	}
	return err
}

// Close takes the power away and the disks.
func (d *Device) Close() error {
	err := d.stop()
	return errors.Join(err, os.RemoveAll(d.dir))
}

// network brings up what QEMU's user network expects, once udev has loaded the
// driver. There is no resolver and no way out.
const network = `modprobe virtio_net
for i in $(seq 300); do ls -d /sys/class/net/e* >/dev/null 2>&1 && break; sleep 0.2; done
udevadm settle
for d in /sys/class/net/e*; do
	ip link set up dev "${d##*/}"
	ip addr add 10.0.2.15/24 dev "${d##*/}"
done
`

// GoBuild compiles a program of this module, statically, for a guest. The
// package is named from the module's root.
func GoBuild(arch, pkg, out string, flags ...string) error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("go list -m: %w", err)
	}
	args := append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", out}, flags...)
	c := exec.Command("go", append(args, pkg)...) // #nosec G204 -- our own packages
	c.Dir = string(root[:len(root)-1])
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if msg, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, msg)
	}
	return nil
}
