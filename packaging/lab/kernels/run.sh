#!/bin/sh
# Runs the eBPF tests on older kernels, in a minimal guest. See README.md.
set -eu
cd "$(dirname "$0")/../../.."

cache=${CAM_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cam-os-edge}/kernels
packages=${CAM_LAB_PACKAGES:-"./ebpf/cgroup ./ebpf/sensor ./ebpf/block ./ebpf/cgroupfs ./ebpf/network"}
suites=${*:-"bullseye bookworm"}

say() { echo "kernels: $*" >&2; }
die() { say "$*"; exit 1; }

if ! command -v qemu-system-x86_64 >/dev/null; then
	[ "$(id -u)" = 0 ] || die "qemu-system-x86_64 is missing; install it: apt-get install qemu-system-x86"
	say "installing qemu-system-x86"
	apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y qemu-system-x86 >/dev/null
fi
for tool in mke2fs dpkg-deb apt-get; do
	command -v $tool >/dev/null || PATH=$PATH:/usr/sbin:/sbin
	command -v $tool >/dev/null || die "$tool is missing; these tests need a Debian or a relative of it"
done

# The mirror that this machine is set up to use.
mirror() {
	cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
		grep -v '^#' | grep -oE '[a-z+]+://[^ ]+/debian/?( |$)' | head -n 1
}

# apt with lists, sources and cache of its own; the machine's stay untouched.
apt_in() {
	dir=$1
	shift
	apt-get -qq -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=- \
		-o Dir::State::lists="$dir/lists" -o Dir::Cache="$dir/cache" -o Acquire::Languages=none \
		-o APT::Sandbox::User=root -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
		-o Acquire::Retries=3 "$@"
}

# kernel SUITE: the suite's cloud kernel, unpacked into the cache.
kernel() {
	suite=$1 dir=$cache/$1.$$
	[ -d "$cache/$suite" ] && return
	from=$(mirror)
	[ -n "$from" ] || die "no Debian mirror in /etc/apt; unpack $suite's linux-image-*-cloud-amd64 by hand: dpkg-deb -x FILE $cache/$suite"
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $suite main" >"$dir/sources.list"
	say "fetching $suite's kernel"
	apt_in "$dir" update || die "$suite cannot be had from the configured mirror"
	meta=linux-image-cloud-amd64/$suite
	image=$(apt_in "$dir" -s -o APT::Architecture=amd64 -o Dir::State::status=/dev/null install --no-install-recommends "$meta" 2>/dev/null |
		sed -n 's/^Inst \(linux-image-[0-9][^ ]*\) .*/\1/p')
	[ -n "$image" ] || die "no cloud kernel found in $suite"
	(cd "$dir" && apt_in "$dir" -o Dir::State::status=/dev/null download "$image")
	dpkg-deb -x "$dir"/linux-image-*.deb "$dir"
	rm -rf "$dir"/*.deb "$dir/lists" "$dir/cache" "$dir/sources.list"
	# Another run may have been faster.
	mv -T "$dir" "$cache/$suite" 2>/dev/null || rm -rf "$dir"
}

work=$(mktemp -d)
trap 'rm -rf "$work" "$cache"/*.$$' EXIT INT TERM

build() {
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -o "$work/guest" ./packaging/lab/kernels/guest
	for p in $packages; do
		CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go test -c -o "$work/tests/$(basename "$p").test" "$p"
	done
	truncate -s 64M "$work/disk.img"
	mke2fs -q -t ext4 -O ^has_journal "$work/disk.img"
	truncate -s 768M "$work/scratch.img"
	mke2fs -q -t ext4 "$work/scratch.img"
}

# try SUITE: boot, run, and believe only a guest that says ok.
try() {
	suite=$1 dir=$cache/$1
	vmlinuz=$(ls "$dir"/boot/vmlinuz-*)
	loop=$(find "$dir/lib" -name loop.ko)
	set -- loop.ko="$loop" disk.img="$work/disk.img"
	n=0
	for m in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
		n=$((n + 1))
		for f in $(find "$dir/lib" -name $m.ko); do set -- "$@" "modules/$n.ko=$f"; done
	done
	for t in "$work"/tests/*; do set -- "$@" "tests/$(basename "$t")=$t"; done
	"$work/guest" -o "$work/initrd" "$@"
	say "booting ${vmlinuz##*/vmlinuz-}"
	# thread=single: with thread=multi, attaching to sched_switch crashes guests.
	timeout 300 qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 2 -m 1G -no-reboot \
		-display none -monitor none -serial stdio -nic none \
		-drive file="$work/scratch.img",if=virtio,format=raw -kernel "$vmlinuz" -initrd "$work/initrd" \
		-append "console=ttyS0 quiet panic=-1 rdinit=/init" </dev/null | tr -d '\r' | tee "$work/$suite.log"
	tail -n 5 "$work/$suite.log" | grep -q '^guest: ok$' || die "FAILED on ${vmlinuz##*/vmlinuz-}"
	[ "$(grep -c '^--- PASS' "$work/$suite.log")" -gt 0 ] || die "no test ran on ${vmlinuz##*/vmlinuz-}"
	say "ok on ${vmlinuz##*/vmlinuz-}: $(grep -c '^--- PASS' "$work/$suite.log") passed, $(grep -c '^--- SKIP' "$work/$suite.log") skipped"
}

mkdir -p "$work/tests"
build
for s in $suites; do
	kernel "$s"
	try "$s"
done
