#!/usr/bin/env bash
# Runs the lab on every device and writes RESULTS.md. Devices that fail are in
# the table too, and make this script fail.
#
#   CAM_LAB_DEVICES="bookworm/amd64 trixie/amd64" CAM_LAB_CUTS=200 packaging/lab/all.sh
set -uo pipefail
cd "$(dirname "$0")"
read -ra devices <<<"${CAM_LAB_DEVICES:-bullseye/amd64 bookworm/amd64 trixie/amd64 sid/amd64}"
export CAM_LAB_CUTS=${CAM_LAB_CUTS:-200}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

lab() { # LOG TEST: the tests of one device
  go test -tags lab -count=1 -timeout 5h -v -run "$2" . 2>&1 | tee "$1"
}
cell() { # NAME TAP: how a scenario ended
  if grep -q "^ok .* - $1\$" "$2" 2>/dev/null; then echo ok; elif grep -q " - $1\$" "$2" 2>/dev/null; then echo '**failed**'; else echo 'not run'; fi
}

for device in "${devices[@]}"; do
  export CAM_LAB_SUITE=${device%/*} CAM_LAB_ARCH=${device#*/} CAM_LAB_TAP=$work/${device//\//-}.tap
  lab "$work/${device//\//-}.log" TestScenarios || failed=1
done
export CAM_LAB_SUITE=bookworm CAM_LAB_ARCH=amd64
lab "$work/cuts.log" 'TestPowerCut$' || failed=1
CAM_LAB_CUTS=$((CAM_LAB_CUTS < 20 ? CAM_LAB_CUTS : 20)) lab "$work/control.log" TestPowerCutFinds || failed=1

{
  echo '# Results of the device lab'
  echo
  echo "Written by \`make lab-all\` on $(date -u +%F), commit $(git rev-parse --short HEAD). All devices are emulated (QEMU $(qemu-system-x86_64 --version | grep -o 'version [0-9.]*' | cut -d' ' -f2), tcg, one thread): nothing here is a time that a real device takes."
  echo
  printf '| scenario |'
  for d in "${devices[@]}"; do printf ' %s, %s |' "$d" "$(grep -oh 'kernel [^,]*' "$work/${d//\//-}.log" | head -1 || true)"; done
  printf '\n|---|'
  for _ in "${devices[@]}"; do printf -- '---|'; done
  echo
  for f in scenarios/*.txtar; do
    name=$(basename "$f" .txtar)
    printf '| %s |' "$name"
    for d in "${devices[@]}"; do printf ' %s |' "$(cell "$name" "$work/${d//\//-}.tap")"; done
    echo
  done
  echo
  echo '| power cuts | |'
  echo '|---|---|'
  echo "| the node | $(grep -oh '[0-9]* cuts, .* losses' "$work/cuts.log") |"
  echo "| negative control, without sync | $(grep -oh '[0-9]* cuts, .* losses' "$work/control.log") |"
} >RESULTS.md
exit $failed
