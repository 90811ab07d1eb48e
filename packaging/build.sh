#!/usr/bin/env bash
# Makes dist/: .deb and .rpm for each architecture, what they are made of
# (CycloneDX) and their SHA-256 sums. Two runs on one commit give the same bytes,
# with the same Go.
#
#   packaging/build.sh [OUT] [ARCH...]    (default: dist amd64 arm64)
#   VERSION=1.2.3                         (default: from git)
#   OVERLAY=FILE                          as go build -overlay; the lab makes a future version
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-dist}
shift || true
[ $# -gt 0 ] || set -- amd64 arm64

# A tag v1.2.3 is version 1.2.3; commits after it are 1.2.3+N.gHASH, which is
# newer than it and older than the next. Changed files make it .dirty.
version() {
  local tag since
  tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)
  since=$(git rev-list --count "${tag:+$tag..}HEAD")
  printf '%s' "${tag:-v0.0.0}" | cut -c2- | tr -d '\n'
  [ "$since" -eq 0 ] || printf '+%d.g%s' "$since" "$(git rev-parse --short=8 HEAD)"
  git diff --quiet HEAD || printf '.dirty'
}

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export PKG_VERSION=${VERSION:-$(version)}
export PKG_MAINTAINER PKG_ARCH
date=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
PKG_MAINTAINER='CAM-OS Edge maintainers <maintainers@cam-os.org>'
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
export LC_ALL=C TZ=UTC CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOAMD64=v1 GOARM64=v8.0
mkdir -p "$out"
rm -f "$out"/cam-node[-_]* "$out"/SHA256SUMS

build() { # ARCH FILE
  GOOS=linux GOARCH=$1 go build ${OVERLAY:+-overlay="$OVERLAY"} -trimpath -ldflags "-s -w -X main.buildVersion=$PKG_VERSION" -o "$2" ./cmd/cam-node
}

# What every architecture shares.
build "$(go env GOHOSTARCH)" "$STAGE/host"
"$STAGE/host" pages "$STAGE"
{ cat packaging/cam-node.yaml.5.md; sed 's/^/    /' packaging/node.yaml; } >"$STAGE/cam-node.yaml.5.md"
go run github.com/cpuguy83/go-md2man/v2 -in "$STAGE/cam-node.yaml.5.md" -out "$STAGE/man/cam-node.yaml.5"
gzip -n9 "$STAGE"/man/*
for page in "$STAGE"/man/*; do
  section=${page%.gz}
  printf '  - {src: %s, dst: /usr/share/man/man%s/%s, type: ${DOC}, file_info: {mode: 0644}}\n' \
    "$page" "${section##*.}" "${page##*/}"
done >"$STAGE/man.yaml"
{
  echo 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/'
  echo 'Upstream-Name: CAM-OS Edge'
  echo 'Source: https://github.com/cam-os/edge'
  echo
  echo 'Files: *'
  echo 'Copyright: 2026 The CAM-OS Edge authors'
  echo 'License: Apache-2.0'
  echo ' On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.'
} >"$STAGE/copyright"

# The changelog is what git says since the last release, folded: a line has at
# most 80 characters.
changes() { # FIRST NEXT: what a change's first and further lines begin with
  local since
  since=$(git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD^ 2>/dev/null || true)
  git log --format='%s' "${since:+$since..}HEAD" | while IFS= read -r subject; do
    fold -s -w 72 <<<"$subject" | sed "1s/^/$1/; 2,\$s/^/$2/; s/ *\$//"
  done
}
{
  printf 'cam-node (%s-1) stable; urgency=medium\n\n' "$PKG_VERSION"
  changes '  * ' '    '
  printf '\n -- %s  %s\n' "$PKG_MAINTAINER" "$(date -R -u -d "@$SOURCE_DATE_EPOCH")"
} | gzip -n9 >"$STAGE/changelog.Debian.gz"
{
  echo "- semver: $PKG_VERSION-1"
  echo "  date: $date"
  echo "  packager: $PKG_MAINTAINER"
  echo '  changes:'
  changes '    - note: |-\n        ' '          '
} >"$STAGE/changelog.yaml"

# Debian looks for units in /lib until trixie; RPM marks what is documentation.
package() { # FORMAT DOC UNITS ZSH CHANGELOG
  # nfpm itself expands variables in some fields only.
  sed "/# \${MAN}/r $STAGE/man.yaml" packaging/nfpm.yaml |
    sed "s|\${STAGE}|$STAGE|g; s|\${DOC}|$2|g; s|\${UNITS}|$3|g; s|\${ZSH}|$4|g; s|\${CHANGELOG}|$5|g" >"$STAGE/nfpm.yaml"
  go tool -modfile=tools.mod nfpm package --config "$STAGE/nfpm.yaml" --packager "$1" --target "$out/"
}

for PKG_ARCH in "$@"; do
  build "$PKG_ARCH" "$STAGE/cam-node"
  package deb file /lib/systemd/system /usr/share/zsh/vendor-completions ''
  package rpm doc /usr/lib/systemd/system /usr/share/zsh/site-functions "$STAGE/changelog.yaml"
  # Dated as the rest is; the tool itself takes the clock's time.
  go tool -modfile=tools.mod cyclonedx-gomod bin -json -std -noserial -version "$PKG_VERSION" "$STAGE/cam-node" 2>/dev/null |
    sed "s/\"timestamp\": \"[^\"]*\"/\"timestamp\": \"$date\"/" >"$out/cam-node_${PKG_VERSION}_$PKG_ARCH.cdx.json"
done
(cd "$out" && sha256sum cam-node[-_]* >SHA256SUMS)
ls -l "$out"
