#!/bin/sh
# What the node costs: `make bench`, or bench/run.sh -quick.
cd "$(dirname "$0")/.." && exec go run ./bench -out bench/RESULTS.md "$@"
