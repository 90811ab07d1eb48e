# Makes the parts of a device: disk.img, vmlinuz, initrd and modules.
#
#   sh image.sh SUITE ARCH DIR [MIRROR]
#
# A foreign architecture's packages are unpacked only, and left in /debs of the
# disk: configure.sh, in a guest, does what needs their programs. There is no
# initrd then.
set -eu
suite=$1 arch=$2 dir=$3 mirror=${4:-}
kernel=linux-image-cloud-$arch
[ "$arch/$suite" = arm64/bullseye ] && kernel=linux-image-arm64
include=systemd,systemd-sysv,udev,dbus,kmod,iproute2,procps,curl,jq,e2fsprogs,tpm2-tools,$kernel

# What the initramfs needs, and no more.
cat >"$dir/initramfs.sh" <<'END'
mkdir -p "$1/etc/initramfs-tools/conf.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/lab"
printf '%s\n' virtio_pci virtio_mmio virtio_blk ext4 >"$1/etc/initramfs-tools/modules"
END

common() { # OPTION...
	mmdebstrap --quiet --architectures="$arch" --aptopt='Acquire::Retries "3"' --aptopt='Acquire::Check-Valid-Until "false"' \
		"$@" "$suite" "$dir/root" ${mirror:+"deb $mirror $suite main"}
}

if [ "$arch" = "$(dpkg --print-architecture)" ]; then
	common --variant=minbase --include="$include" \
		--essential-hook="sh '$dir/initramfs.sh' \"\$1\"" \
		--customize-hook="cp '$dir/customize.sh' \"\$1/customize.sh\"; chroot \"\$1\" sh /customize.sh"
	cp "$dir"/root/boot/initrd.img-* "$dir/initrd"
else
	common --variant=extract --skip=essential/unlink --include='?essential' --include="apt,$include" \
		--extract-hook="mkdir \"\$1/debs\"; cp \"\$1\"/var/cache/apt/archives/*.deb \"\$1/debs\""
	sh "$dir/initramfs.sh" "$dir/root"
	cp "$dir/customize.sh" "$dir/configure.sh" "$dir/root"
	depmod -b "$dir/root" "$(ls "$dir/root/lib/modules")"
fi
cp "$dir"/root/boot/vmlinuz-* "$dir/vmlinuz"
cp -r "$dir"/root/lib/modules "$dir/modules"
truncate -s 1500M "$dir/disk.img"
mke2fs -q -t ext4 -d "$dir/root" "$dir/disk.img"
rm -rf "$dir/root" "$dir"/*.sh
