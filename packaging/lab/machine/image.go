package machine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Image is a Debian with systemd, and nothing of ours but a unit that starts
// the lab's program from the disk labelled "lab".
type Image struct {
	Suite, Arch string
	// Disk is an ext4 file system: copy it before writing.
	Disk string
	// Kernel and Initrd boot it; Release is what uname -r says.
	Kernel, Initrd, Release string
	// Modules is the kernel's module tree.
	Modules string
}

// recipe makes the image: a change to it makes a new one.
const recipe = `set -eu
suite=$1 arch=$2 dir=$3 mirror=$4
kernel=linux-image-cloud-$arch
[ "$arch" = arm64 ] && [ "$suite" = bullseye ] && kernel=linux-image-arm64
mmdebstrap --quiet --variant=minbase --architectures="$arch" \
	--include=systemd,systemd-sysv,udev,dbus,kmod,iproute2,procps,curl,jq,e2fsprogs,tpm2-tools,"$kernel" \
	--aptopt='Acquire::Retries "3"' --aptopt='Acquire::Check-Valid-Until "false"' \
	--essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"; echo MODULES=list >"$1/etc/initramfs-tools/conf.d/lab"; printf "%s\n" virtio_pci virtio_mmio virtio_blk ext4 >"$1/etc/initramfs-tools/modules"' \
	--customize-hook='cat >"$1/etc/systemd/system/lab.service" <<-END
	[Unit]
	Description=Lab
	DefaultDependencies=no
	After=systemd-remount-fs.service systemd-udevd.service
	[Service]
	ExecStartPre=/bin/sh -c "mkdir -p /run/lab && mount -o ro LABEL=lab /run/lab && ln -sfn /run/lab /lab"
	ExecStart=/run/lab/inside serve
	KillMode=process
	Restart=always
	TimeoutStartSec=300
	[Install]
	WantedBy=sysinit.target
	END
	chroot "$1" systemctl enable --quiet lab.service
	chroot "$1" systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service dpkg-db-backup.timer systemd-logind.service getty@tty1.service serial-getty@ttyS0.service serial-getty@ttyAMA0.service
	rm -f "$1/etc/resolv.conf"
	echo device >"$1/etc/hostname"
	rm -rf "$1"/var/lib/apt/lists/* "$1"/usr/share/locale "$1"/usr/share/doc/*' \
	"$suite" "$dir/root" ${mirror:+"deb $mirror $suite main"}
cp "$dir"/root/boot/vmlinuz-* "$dir/vmlinuz"
cp "$dir"/root/boot/initrd.img-* "$dir/initrd"
cp -r "$dir"/root/lib/modules "$dir/modules"
truncate -s 1500M "$dir/disk.img"
mke2fs -q -t ext4 -d "$dir/root" "$dir/disk.img"
rm -rf "$dir/root"
`

// CacheDir is where images and kernels are kept.
func CacheDir() (string, error) {
	if dir := os.Getenv("CAM_LAB_CACHE"); dir != "" {
		return dir, nil
	}
	base, err := os.UserCacheDir()
	return filepath.Join(base, "cam-os-edge"), err
}

// Build returns the image of a Debian suite, made when the cache lacks it:
// that needs root, mmdebstrap and a Debian mirror (CAM_LAB_MIRROR, or the
// usual one).
func Build(suite, arch string, log io.Writer) (*Image, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(recipe))
	dir := filepath.Join(cache, "images", fmt.Sprintf("%s-%s-%s", suite, arch, hex.EncodeToString(sum[:4])))
	if _, err := os.Stat(dir); err != nil {
		fmt.Fprintf(log, "lab: building the image of %s for %s (once)\n", suite, arch)
		if err := build(suite, arch, dir, log); err != nil {
			return nil, fmt.Errorf("image of %s for %s: %w", suite, arch, err)
		}
	}
	releases, err := filepath.Glob(dir + "/modules/*")
	if err != nil || len(releases) != 1 {
		return nil, fmt.Errorf("%s/modules: want one kernel, found %v; remove the directory, it is made anew", dir, releases)
	}
	return &Image{
		Suite: suite, Arch: arch, Disk: dir + "/disk.img", Kernel: dir + "/vmlinuz", Initrd: dir + "/initrd",
		Release: filepath.Base(releases[0]), Modules: releases[0],
	}, nil
}

func build(suite, arch, dir string, log io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { // #nosec G301 -- mmdebstrap's _apt user passes through
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "new")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // #nosec G302 -- the same
		return err
	}
	mirror := os.Getenv("CAM_LAB_MIRROR")
	if mirror == "" && (suite == "bullseye" || suite == "sid") {
		// No updates of their own, or such as are no longer whole.
		mirror = "http://deb.debian.org/debian"
	}
	c := exec.Command("sh", "-c", recipe, "sh", suite, arch, tmp, mirror) // #nosec G204 G702 -- our own
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out := &tail{}
	c.Stdout, c.Stderr = io.MultiWriter(log, out), io.MultiWriter(log, out)
	if err := c.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(out.String()))
	}
	return os.Rename(tmp, dir)
}

// Payload makes a read-only disk labelled "lab" with files under the names
// given.
func Payload(path string, files map[string]string) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), "payload")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var size int64
	for name, file := range files {
		data, err := os.ReadFile(file) // #nosec G304 -- what the lab packs
		if err != nil {
			return err
		}
		size += int64(len(data))
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil { // #nosec G306 G703 -- programs
			return err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { // #nosec G302 -- read in the guest by any user
		return err
	}
	size += size/8 + 8<<20
	c := exec.Command("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-L", "lab", "-E", "root_owner=0:0", "-d", dir, path, fmt.Sprintf("%dk", size>>10)) // #nosec G204
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w\n%s", err, out)
	}
	return nil
}
