#!/bin/sh
# Checks that the committed eBPF objects are what their sources give, in a copy
# elsewhere, so that no path gets in. -w rewrites them instead.
#
# Bytes are only the same with the same compiler: clang 14 and libbpf 1.1, as
# Debian 12 has them (packages clang, llvm, libbpf-dev).
set -eu
cd "$(dirname "$0")/.."
packages="sensor probecost network block"

version=$(clang --version 2>/dev/null | sed -n 's/.*clang version \([0-9]*\).*/\1/p')
if [ "$version" != 14 ] || [ ! -e /usr/include/bpf/bpf_helpers.h ]; then
	echo "regenerate: needs clang 14 (here: ${version:-none}) and libbpf-dev; apt-get install clang llvm libbpf-dev" >&2
	exit 2
fi
if [ "${1:-}" = -w ]; then
	for p in $packages; do (cd "ebpf/$p" && go generate .); done
	exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
cp go.mod go.sum tools.mod tools.sum "$work"
mkdir "$work/ebpf"
cp -r ebpf/include "$work/ebpf/"
for p in $packages; do cp -r "ebpf/$p" "$work/ebpf/"; done
find "$work/ebpf" -name '*_bpfel.*' -exec rm {} +
status=0
for p in $packages; do
	(cd "$work/ebpf/$p" && go generate .)
	for f in "ebpf/$p"/*_bpfel.*; do
		cmp "$f" "$work/$f" || status=1
	done
done
[ $status = 0 ] && echo "regenerate: the committed objects are up to date"
exit $status
