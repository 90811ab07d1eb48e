#!/usr/bin/env bash
# Holds the packages to what they promise, as far as that can be seen without a
# device; the lab (packaging/lab) installs them. Writes TAP (testanything.org).
# The packages of the first build stay in OUT, for whoever tries them next:
#
#   packaging/check.sh [OUT]              (default: dist)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-dist}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
count=0 failed=0

# check NAME COMMAND... runs it and shows what it wrote only when it failed.
check() {
  local name=$1 log=$tmp/log
  shift
  count=$((count + 1))
  # Not as a condition: bash would ignore -e within.
  set +e
  (set -euo pipefail; "$@") >"$log" 2>&1
  local status=$?
  set -e
  if [ $status -eq 0 ]; then
    echo "ok $count - $name"
  else
    failed=$((failed + 1))
    echo "not ok $count - $name"
    sed 's/^/# /' "$log"
  fi
}

build() { packaging/build.sh "$out"; }
check 'the packages build' build
[ $failed -eq 0 ] || { echo "1..$count"; exit 1; }
mapfile -t debs < <(ls "$out"/cam-node_*.deb)
mapfile -t rpms < <(ls "$out"/cam-node-*.rpm)

# What is slow runs beside the rest. The second build has other habits, and
# lintian's warnings count.
(umask 077; TZ=Asia/Tokyo LC_ALL=C.UTF-8 TMPDIR=$tmp packaging/build.sh "$tmp/again") >"$tmp/second" 2>&1 &
second=$!
lintian --allow-root --fail-on error,warning --tag-display-limit 0 "${debs[@]}" >"$tmp/lintian" 2>&1 &
lintian=$!

check 'rpmlint finds no error' rpmlint -c packaging/rpm/rpmlint.toml "${rpms[@]}"

machine() { od -An -tx1 -j18 -N2 "$1" | tr -d ' \n'; } # e_machine, elf(5)
deb() { # FILE ARCH MACHINE
  local root=$tmp/deb-$2
  dpkg-deb -x "$1" "$root" && dpkg-deb -e "$1" "$root/DEBIAN"
  [ "$(dpkg-deb -f "$1" Architecture)" = "$2" ]
  [ "$(dpkg-deb -f "$1" Installed-Size)" -le 61440 ] # 60 MB, in KiB
  [ "$(machine "$root/usr/bin/cam-node")" = "$3" ]
  [ "$(readlink "$root/usr/bin/camctl")" = cam-node ]
  diff <(echo /etc/cam/node.yaml) "$root/DEBIAN/conffiles"
  (cd "$root" && md5sum --check --quiet DEBIAN/md5sums)
  [ -s "$root/usr/share/doc/cam-node/QUICKSTART.md" ]
  for script in postinst prerm postrm; do sh -n "$root/DEBIAN/$script"; done
}
for d in "${debs[@]}"; do
  case $d in
  *_amd64.deb) check 'the amd64 .deb is whole' deb "$d" amd64 3e00 ;;
  *_arm64.deb) check 'the arm64 .deb is whole' deb "$d" arm64 b700 ;;
  esac
done
root=$tmp/deb-$(dpkg --print-architecture)

# There is no RPM distribution here: RPM itself installs into an empty root,
# without the scripts, which would need that distribution's shell.
in_rpm() { rpm --root "$tmp/rpm-$arch" --dbpath /var/lib/rpm "$@"; } # Debian's default is in $HOME
rpm_lives() {
  local arch=$2 conf=$tmp/rpm-$2/etc/cam/node.yaml
  mkdir -p "$tmp/rpm-$arch" && in_rpm --initdb
  in_rpm -i --nodeps --noscripts --ignorearch --ignoreos "$1"
  in_rpm -V --noscripts --nodeps cam-node
  [ "$(readlink "$tmp/rpm-$arch/usr/bin/camctl")" = cam-node ]
  [ "$(machine "$tmp/rpm-$arch/usr/bin/cam-node")" = "$3" ]
  diff <(echo /etc/cam/node.yaml) <(in_rpm -qc cam-node)
  # What the administrator wrote stays, over an upgrade and over removal.
  echo 'interval: 2s' >"$conf"
  in_rpm -U --replacepkgs --nodeps --noscripts --ignorearch --ignoreos "$1"
  grep -qx 'interval: 2s' "$conf"
  in_rpm -e --noscripts cam-node
  grep -qx 'interval: 2s' "$conf.rpmsave"
  rm "$conf.rpmsave"
  diff /dev/null <(find "$tmp/rpm-$arch" -path '*/var/lib/rpm' -prune -o -type f -print)
  for script in post preun postun; do sh -n packaging/rpm/$script; done
}
for r in "${rpms[@]}"; do
  case $r in
  *.x86_64.rpm) check 'RPM installs, verifies, upgrades and removes the x86_64 .rpm' rpm_lives "$r" x86_64 3e00 ;;
  *.aarch64.rpm) check 'RPM installs, verifies, upgrades and removes the aarch64 .rpm' rpm_lives "$r" aarch64 b700 ;;
  esac
done

exposure() {
  systemd-analyze security --no-pager --offline=true --threshold=30 "$root/lib/systemd/system/cam-node.service"
}
check 'systemd-analyze security gives at most 3.0' exposure

unit() { # systemd before 254 does not know the two keys of the back-off
  systemd-analyze verify --man=no --recursive-errors=no --root="$root" cam-node.service 2>&1 |
    grep -v "Unknown key.*'Restart\(Steps\|MaxDelaySec\)'\|sysinit.target not found" >"$tmp/unit" || true
  cat "$tmp/unit" && [ ! -s "$tmp/unit" ]
}
check 'systemd understands the unit' unit

declared() {
  systemd-sysusers --root="$root"
  grep -q '^cam:' "$root/etc/group" && grep -q '^cam-admin:' "$root/etc/group"
  systemd-tmpfiles --root="$root" --create cam-node.conf
  [ "$(stat -c %a "$root/run/cam-node")" = 700 ]
}
check 'sysusers.d and tmpfiles.d do what they say' declared

pages() {
  local page
  for page in "$root"/usr/share/man/man*/*.gz; do
    zcat "$page" | groff -man -Tutf8 -ww -b >/dev/null 2>"$tmp/roff"
    [ ! -s "$tmp/roff" ] || { echo "$page"; cat "$tmp/roff"; return 1; }
  done
  for page in man8/cam-node.8 man1/camctl.1 man1/camctl-check-config.1 man1/camctl-support-bundle.1 man5/cam-node.yaml.5; do
    [ -s "$root/usr/share/man/$page.gz" ]
  done
  bash -n "$root/usr/share/bash-completion/completions/camctl"
  bash -n "$root/usr/share/bash-completion/completions/cam-node"
}
check 'man pages and completions are well formed' pages

binary() {
  local version
  version=$(dpkg-deb -f "$out"/cam-node_*_"$(dpkg --print-architecture)".deb Version)
  "$root/usr/bin/cam-node" version | grep -qF "cam-node ${version%-1} "
  "$root/usr/bin/camctl" check-config "$root/etc/cam/node.yaml" | grep -q 'what the defaults are'
}
check 'the binary knows its version and likes its configuration' binary

boms() {
  local bom
  for bom in "$out"/*.cdx.json; do
    grep -q '"bomFormat": "CycloneDX"' "$bom"
    # Every module in the binary is there.
    go version -m "$root/usr/bin/cam-node" | awk '$1 == "dep" {print "pkg:golang/" $2 "@" $3}' |
      while IFS= read -r purl; do grep -qiF "\"${purl//+/%2B}" "$bom" || { echo "$bom lacks $purl"; exit 1; }; done
  done
}
check 'the bills of materials list every module' boms

found=0
wait $lintian || found=$?
lint() { cat "$tmp/lintian"; return $found; }
check 'lintian finds neither error nor warning' lint

built=0
wait $second || built=$?
equal() {
  [ $built -eq 0 ] || { cat "$tmp/second"; return 1; }
  diff "$out/SHA256SUMS" "$tmp/again/SHA256SUMS"
  (cd "$out" && sha256sum --check --quiet SHA256SUMS && [ "$(wc -l <SHA256SUMS)" -eq 6 ])
}
check 'two builds give the same bytes' equal

echo "1..$count"
[ $failed -eq 0 ]
