#!/bin/sh
# Runs the eBPF tests on other kernels, in a minimal guest. See README.md.
#
#   packaging/lab/kernels/run.sh [SUITE[/ARCH]...]
set -eu
cd "$(dirname "$0")/../../.."

cache=${CAM_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cam-os-edge}/kernels
logs=dist/kernels
packages=${CAM_LAB_PACKAGES:-"./ebpf/cgroup ./ebpf/sensor ./ebpf/block ./ebpf/cgroupfs ./ebpf/network"}
devices=${*:-"bullseye bookworm"}

say() { echo "kernels: $*" >&2; }
die() { say "$*"; exit 1; }

# The machine that a device is, as QEMU has it.
# thread=single: with thread=multi, attaching to sched_switch crashes guests.
qemu() {
	arch=$1
	shift
	case $arch in
	amd64) set -- qemu-system-x86_64 -cpu max "$@" ;;
	# Pointer authentication by QEMU's own cipher, which is quick to emulate.
	arm64) set -- qemu-system-aarch64 -machine virt -cpu max,pmu=on,pauth-impdef=on "$@" ;;
	esac
	# shellcheck disable=SC2086 -- several options
	timeout "${CAM_LAB_TIMEOUT:-2400}" "$@" ${CAM_LAB_QEMU:-} -accel tcg,thread=single -smp 2 -m 1G -no-reboot \
		-display none -monitor none -serial stdio -nic none </dev/null
}

# The version of the emulators, which come in one package each.
emulated_by() {
	for q in qemu-system-x86_64 qemu-system-aarch64; do
		command -v $q >/dev/null && $q --version | sed -nE 's/.*version ([0-9.]+).*/QEMU \1/p' && return
	done
}

# need TOOL PACKAGE: installs what is missing, or says what to do.
need() {
	command -v "$1" >/dev/null && return
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "$1 is missing; install it: apt-get install $2"
	say "installing $2"
	apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "$2" >/dev/null
}

PATH=$PATH:/usr/sbin:/sbin
need mke2fs e2fsprogs
need depmod kmod
need xz xz-utils
for d in $devices; do
	case $d in
	*/arm64) need qemu-system-aarch64 qemu-system-arm ;;
	*/amd64) need qemu-system-x86_64 qemu-system-x86 ;;
	*/*) die "$d: only amd64 and arm64" ;;
	*) need qemu-system-x86_64 qemu-system-x86 ;;
	esac
done
for tool in dpkg-deb apt-get; do
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
		-o Dir::State::status=/dev/null -o APT::Architecture="$arch" -o Acquire::Retries=3 "$@"
}

# kernel SUITE ARCH: the suite's cloud kernel, unpacked into the cache.
kernel() {
	suite=$1 arch=$2 to=$cache/$1-$2 dir=$cache/$1-$2.$$
	[ -d "$to" ] && return
	meta=linux-image-cloud-$arch
	# There was no cloud kernel for arm64 yet.
	[ "$suite/$arch" = bullseye/arm64 ] && meta=linux-image-arm64
	from=$(mirror)
	[ -n "$from" ] || die "no Debian mirror in /etc/apt; unpack $suite's $meta by hand: dpkg-deb -x FILE $to && depmod -b $to RELEASE"
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	echo "deb [arch=$arch signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $suite main" >"$dir/sources.list"
	say "fetching $suite's kernel for $arch"
	apt_in "$dir" update || die "$suite cannot be had from the configured mirror"
	images=$(apt_in "$dir" -s install --no-install-recommends "$meta/$suite" 2>/dev/null |
		sed -nE 's/^Inst (linux-(image|modules|binary|base)-[0-9][^ ]*) .*/\1/p')
	[ -n "$images" ] || die "no $meta found in $suite"
	# shellcheck disable=SC2086 -- several names
	(cd "$dir" && apt_in "$dir" download $images)
	for deb in "$dir"/*.deb; do dpkg-deb -x "$deb" "$dir"; done
	[ -d "$dir/lib/modules" ] || ln -s usr/lib "$dir/lib"
	depmod -b "$dir" "$(basename "$dir"/lib/modules/*)"
	rm -rf "$dir"/*.deb "$dir/lists" "$dir/cache" "$dir/sources.list"
	# Another run may have been faster.
	mv -T "$dir" "$to" 2>/dev/null || rm -rf "$dir"
}

work=$(mktemp -d)
trap 'rm -rf "$work" "$cache"/*.$$' EXIT INT TERM

# build ARCH: the tests, and the program that packs and runs them.
build() {
	[ -d "$work/$1" ] && return
	mkdir "$work/$1"
	CGO_ENABLED=0 GOOS=linux GOARCH=$1 go build -o "$work/$1/guest" ./packaging/lab/kernels/guest
	for p in $packages; do
		CGO_ENABLED=0 GOOS=linux GOARCH=$1 go test -c -o "$work/$1/tests/$(basename "$p").test" "$p"
	done
}

# try SUITE ARCH: boot, run, and believe only a guest that says ok.
try() {
	dir=$cache/$1-$2 arch=$2 log=$logs/$1-$2.log
	vmlinuz=$(ls "$dir"/boot/vmlinuz-* "$dir"/lib/modules/*/vmlinuz 2>/dev/null | head -n 1)
	modules=$(echo "$dir"/lib/modules/*)
	release=${modules##*/}
	console=ttyS0
	[ "$arch" = arm64 ] && console=ttyAMA0
	truncate -s 64M "$work/disk.img"
	mke2fs -q -F -t ext4 -O ^has_journal "$work/disk.img"
	rm -f "$work/scratch.img"
	truncate -s 768M "$work/scratch.img"
	mke2fs -q -t ext4 "$work/scratch.img"
	set -- init="$work/$arch/guest" disk.img="$work/disk.img"
	for t in "$work/$arch"/tests/*; do set -- "$@" "tests/$(basename "$t")=$t"; done
	"$work/pack" -o "$work/initrd" -modules "$modules" "$@"
	say "booting $release"
	{
		echo "kernel $release"
		echo "commit $commit"
		echo "emulator $emulator"
	} >"$log"
	began=$(date +%s)
	qemu "$arch" -drive file="$work/scratch.img",if=virtio,format=raw -kernel "$vmlinuz" -initrd "$work/initrd" \
		-append "console=$console quiet panic=-1 rdinit=/init" | sed -u "s/\r//g" | tee -a "$log"
	echo "took $(($(date +%s) - began)) seconds" >>"$log"
	passed=$(grep -c '^--- PASS' "$log" || true) skipped=$(grep -c '^--- SKIP' "$log" || true)
	if ! tail -n 6 "$log" | grep -q '^guest: ok$' || [ "$passed" = 0 ]; then
		say "FAILED on $release, see $log"
		failed="$failed $release"
		return
	fi
	say "ok on $release: $passed passed, $skipped skipped"
}

failed=
mkdir -p "$cache" "$logs"
go build -o "$work/pack" ./packaging/lab/kernels/guest
# All that is compiled is of one moment.
emulator=$(emulated_by)
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
for d in $devices; do
	case $d in */*) build "${d#*/}" ;; *) build amd64 ;; esac
done
for d in $devices; do
	suite=${d%/*} arch=amd64
	case $d in */*) arch=${d#*/} ;; esac
	kernel "$suite" "$arch"
	try "$suite" "$arch"
done
[ -z "$failed" ] || die "FAILED on$failed"
