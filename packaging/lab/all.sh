#!/usr/bin/env bash
# Runs the lab on every device and cuts the power 200 times, and writes
# RESULTS.md. What fails is in the table too, and makes this script fail.
#
#   packaging/lab/all.sh
#   CAM_LAB_DEVICES="bookworm/amd64 trixie/amd64" CAM_LAB_CUTS=20 packaging/lab/all.sh
#
# What each device and each fifty cuts gave is kept in dist/lab/COMMIT, so after
# an interruption, or a failure, the same command does only what is missing.
set -uo pipefail
cd "$(dirname "$0")"
read -ra devices <<<"${CAM_LAB_DEVICES:-bullseye/amd64 bookworm/amd64 trixie/amd64 sid/amd64 bookworm/arm64}"
cuts=${CAM_LAB_CUTS:-200} chunk=50
unset CAM_LAB_SCENARIOS CAM_LAB_CUTS

# The commit and, when files were changed since, the changes.
commit=$(git rev-parse --short HEAD)
changes=$(git diff HEAD -- ../.. ':!RESULTS.md')
[ -z "$changes" ] || commit+=-$(sha256sum <<<"$changes" | cut -c1-8)
work=$(cd ../.. && pwd)/dist/lab/$commit
mkdir -p "$work"
# Compiled once: what others change meanwhile has no effect on the lab itself.
go test -tags lab -c -o "$work/lab.test" . || exit 1

# lab NAME TEST: runs a test whose log is NAME.log, unless it has passed before.
failed=0
lab() {
  local began=$SECONDS
  if [ -e "$work/$1.passed" ]; then
    echo "lab: $1 has passed already" >&2
    return
  fi
  echo "lab: $1" >&2
  # Its own lines are for people who wait, the rest is for the log.
  if "$work/lab.test" -test.timeout 5h -test.v -test.run "$2" 2>&1 >"$work/$1.out" | tee "$work/$1.err" >&2; then
    touch "$work/$1.passed"
  else
    failed=1
    echo "lab: $1 FAILED, see $work/$1.out" >&2
  fi
  echo "took $((SECONDS - began)) s" >>"$work/$1.err"
  cat "$work/$1.err" "$work/$1.out" >"$work/$1.log"
}

for device in "${devices[@]}"; do
  name=${device//\//-}
  CAM_LAB_SUITE=${device%/*} CAM_LAB_ARCH=${device#*/} CAM_LAB_TAP=$work/$name.tap CAM_LAB_JUNIT=$work/$name.xml lab "$name" '^TestScenarios$'
done
cutlogs=()
export CAM_LAB_SUITE=bookworm CAM_LAB_ARCH=amd64
for ((done = 0, seed = 1; done < cuts; done += n, seed++)); do
  n=$((cuts - done < chunk ? cuts - done : chunk))
  CAM_LAB_SEED=$seed CAM_LAB_CUTS=$n lab "cuts-$n-seed-$seed" '^TestPowerCut$'
  cutlogs+=("$work/cuts-$n-seed-$seed.log")
done
CAM_LAB_CUTS=$((cuts < 20 ? cuts : 20)) lab control '^TestPowerCutFinds'

# From the logs.
cell() { # NAME SCENARIO: how it ended
  local line
  line=$(grep -E "^(not )?ok [0-9]+ - $2( # SKIP)?\$" "$work/$1.tap" 2>/dev/null)
  case $line in
    '') echo 'not run' ;;
    *SKIP) echo skipped ;;
    ok*) echo ok ;;
    *) echo '**failed**' ;;
  esac
}
said() { # NAME PATTERN: the first match of a Perl expression
  grep -ohP "$2" "$work/$1.log" 2>/dev/null | head -1 || true
}
row() { # TITLE COMMAND...: a cell for each device; the command is given its name
  local title=$1 device
  shift
  printf '| %s |' "$title"
  for device in "${devices[@]}"; do printf ' %s |' "$("$@" "${device//\//-}")"; done
  echo
}
kernel() { said "$1" 'kernel \K[^,]*'; }
first_sample() { said "$1" 'first sample: \K[0-9.]+ s'; }
exposure() { said "$1" 'exposure level for cam-node.service: \K[0-9.]+'; }
took() { said "$1" '^took \K[0-9]+ s'; }
scenario() { cell "$2" "$1"; }
sum() { # LOG...: what several runs of cuts come to
  cat "$@" 2>/dev/null | grep -oP '[0-9]+ cuts, .* losses$' |
    awk '{c+=$1; w+=$3; n+=$9; l+=$11} END {printf "%d cuts, %d of them within a write, %d commits, %d losses", c, w, n, l}'
}

{
  cat <<END
# Results of the device lab

Written by \`make lab-all\` on $(date -u +%F), commit $commit. All devices are
emulated (QEMU $(qemu-system-x86_64 --version | grep -oP 'version \K[0-9.]+'), tcg, one thread) with UEFI and a TPM 2.0 (swtpm): nothing here is
a time that a real device takes.

END
  printf '| |'; printf ' %s |' "${devices[@]}"; echo
  printf '|---|'; printf -- '---|%.0s' "${devices[@]}"; echo
  row kernel kernel
  for f in scenarios/*.txtar; do
    name=$(basename "$f" .txtar)
    row "$name" scenario "$name"
  done
  row '`apt install` to first sample (want ≤ 5 s)' first_sample
  row 'exposure by `systemd-analyze security` (want ≤ 3.0)' exposure
  row 'boots and scenarios took' took
  cat <<END

| power cuts (bookworm/amd64) | |
|---|---|
| the node | $(sum "${cutlogs[@]}") |
| negative control: the same node without sync | $(sum "$work/control.log") |
END
} >"$work/RESULTS.md"
cp "$work/RESULTS.md" RESULTS.md
exit $failed
