#!/usr/bin/env bash
# Two agents on simulated power: what the node charges, beside the truth.
# Ends with q in a terminal, after 15 s elsewhere, and removes all that it made.
# The state lies in a temporary directory.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "$(id -u)" -ne 0 ]; then
  echo "The demo makes cgroups for two agents: run it as root." >&2
  exit 1
fi
dir=$(mktemp -d)
slice=cam-demo-$$.slice
export CAM_SOCKET=$dir/cam.sock
agents=() daemons=()
stop() {
  for pid in "$@"; do kill "$pid" 2>/dev/null || true; done
  for pid in "$@"; do wait "$pid" 2>/dev/null || true; done
}
finish() {
  trap - EXIT
  stop "${agents[@]}"
  sleep 2.5 # the node removes the cgroups of agents that ended
  stop "${daemons[@]}"
  rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM
up() { # up PID LOG COMMAND...: waits until a command succeeds
  local pid=$1 log=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || { cat "$log" >&2; exit 1; }
    sleep 0.05
  done
}

printf '%s\n' 'sockets: [{idle_watts: 4}]' "loads: [{cgroup: '/$slice/*', watts: 10}]" 'other_watts: 10' >"$dir/power.yaml"
printf '%s\n' "agents: {slice: $slice}" 'metrics: {address: ""}' 'energy: {idle_watts: 4}' >"$dir/node.yaml"
bin/cam-node simulate --root "$dir/sys" --config "$dir/power.yaml" 2>"$dir/simulator.log" &
daemons+=($!)
up $! "$dir/simulator.log" test -e "$dir/sys/truth.json"
bin/cam-node run --config "$dir/node.yaml" --state-dir "$dir/state" --socket "$CAM_SOCKET" --path.sysfs "$dir/sys" 2>"$dir/node.log" &
daemons+=($!)
up $! "$dir/node.log" bin/camctl observe

# One that never rests, and one that lives in processes of a few milliseconds.
bin/camctl run --name steady -- sha256sum /dev/zero &
agents+=($!)
bin/camctl run --name fleeting -- sh -c 'while :; do head -c 300000 /dev/urandom | sha256sum >/dev/null; sleep 0.01; done' &
agents+=($!)

if [ -t 0 ] && [ -t 1 ]; then
  bin/camctl top
else
  echo "measuring for 15 s"
  sleep 15
fi
stop "${agents[@]}"
agents=()
sleep 1.5
echo
echo "What the node charged, from eBPF and the simulated counter:"
bin/camctl agents
echo
echo "The truth of the simulator, from the kernel's own accounting. It began before the"
echo "node, so compare the agents; * is everything else. The node also counts interrupts"
echo "and, in a guest, stolen time, so its CPU seconds may be some percent above:"
bin/cam-node simulate truth --root "$dir/sys"
