#!/bin/sh
# Writes RESULTS.md from the logs that run.sh left in dist/kernels. See README.md.
set -eu
cd "$(dirname "$0")/../../.."

logs=$(grep -H '^kernel ' dist/kernels/*.log | sed 's/^\([^:]*\):kernel \(.*\)/\2 \1/' | sort -V | cut -d' ' -f2)
[ -n "$logs" ] || { echo "no logs in dist/kernels; run packaging/lab/kernels/run.sh first" >&2; exit 1; }
emulator=$(sed -n 's/^emulator //p' $logs | sort -u | paste -sd' ')

# The logs' names hold no spaces.
# shellcheck disable=SC2086
awk -v today="$(date -u +%F)" -v emulator="$emulator" '
FNR == 1 { column[++columns] = FILENAME; name = FILENAME; sub(/.*\//, "", name); sub(/\.log$/, "", name); sub(/-/, "/", name); title[FILENAME] = name }
/^kernel / { kernel[FILENAME] = $2 }
/^commit / { commit[FILENAME] = $2 }
/^took / { took[FILENAME] = $2 " s" }
/^guest: / { ended[FILENAME] = $2 == "ok" ? "ok" : "**failed**" }
/^--- PASS/ { passed[FILENAME]++ }
/^--- FAIL/ { failed[FILENAME]++ }
/^--- SKIP/ { skipped[FILENAME]++ }
# With -test.v, what a test says comes before how it ended.
/^ +[a-z0-9_]*_test\.go:[0-9]+: / { why = $0; sub(/^ *[a-z0-9_]*_test\.go:[0-9]+: /, "", why); gsub(/\|/, "\\|", why) }
/^ *--- SKIP/ {
	key = $3 " | " why
	if (!(key in where)) skip[++skips] = key
	where[key] = where[key] (where[key] == "" ? "" : ", ") title[FILENAME]
}
/ charge .*: wrote / {
	line = $0; sub(/.* charge /, "", line)
	at = index(line, ": wrote "); what = substr(line, 1, at - 1); rest = substr(line, at + 8)
	split(rest, part, /, (charged )?/)
	wrote = part[1]; charged = part[2]; sub(/ MiB/, "", wrote); sub(/ MiB/, "", charged)
	key = what " | " wrote
	if (!(key in seen)) { seen[key] = 1; row[++rows] = key }
	cell[key, FILENAME] = charged " (" part[3] ")"
}
function cells(what, values, missing,    i) {
	printf "| %s |", what
	for (i = 1; i <= columns; i++) printf " %s |", (column[i] in values) ? values[column[i]] : missing
	print ""
}
function rule(n) { printf "|"; while (n--) printf "---|"; print "" }
END {
	print "# What the eBPF tests found on each kernel\n"
	print "Written by `packaging/lab/kernels/results.sh` on " today ". Every guest is emulated (" emulator ","
	print "tcg, one thread, two CPUs, 1 GiB): what is counted holds, what is timed is no real device'"'"'s."
	print "To repeat it:\n"
	print "    packaging/lab/kernels/run.sh bullseye bookworm trixie sid bookworm/arm64"
	print "    packaging/lab/kernels/results.sh\n"
	cells("", title); rule(columns + 1)
	cells("kernel", kernel, "?"); cells("commit", commit, "?"); cells("the guest said", ended, "**nothing**")
	cells("tests passed", passed, 0); cells("tests failed", failed, 0); cells("tests skipped", skipped, 0)
	cells("boot and tests took", took, "?")
	print "\n## Bytes charged against bytes written\n"
	print "MiB that `ebpf/block` charged to the writer after the writeback, and how far that is from what it"
	print "wrote to the ext4 of a virtio disk. Wanted: within 1%."
	print "`direct` is O_DIRECT, `buffered` ends with fsync, `dirty` leaves it to the kernel.\n"
	printf "| case | wrote |"; for (i = 1; i <= columns; i++) printf " %s |", title[column[i]]; print ""
	rule(columns + 2)
	for (r = 1; r <= rows; r++) {
		printf "| %s |", row[r]
		for (i = 1; i <= columns; i++) printf " %s |", ((row[r], column[i]) in cell) ? cell[row[r], column[i]] : "not run"
		print ""
	}
	print "\n## Skipped, and why\n"
	if (!skips) print "Nothing."
	else { print "| test | why | where |"; rule(3) }
	for (s = 1; s <= skips; s++) print "| " skip[s] " | " where[skip[s]] " |"
}' $logs >"dist/kernels/RESULTS.md"
cp dist/kernels/RESULTS.md packaging/lab/kernels/RESULTS.md
