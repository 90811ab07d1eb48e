package edge

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/cam-os/edge"

// floors lists the rooms from the ground up. A package may import packages of
// this module only from floors below its own; the longest prefix counts.
var floors = [][]string{
	{"ebpf/cgroup", "ebpf/histogram", "ebpf/kernfs", "energy", "store", "systemd", "tpm"},
	{"ebpf/sensor", "ebpf/cgroupfs", "energy/simulator"},
	{"ebpf/block", "ebpf/network"},
	{"node/ledger", "ebpf/probecost"},
	{"node/observe", "node/container", "node/groups"},
	{"node/agent", "node/coarse", "node/peer"},
	{"node/api/cam"},
	{"node/api", "node/metrics"},
	{"node"},
	{"cmd", "bench", "packaging", "packaging/lab"},
}

// inside are rooms whose packages are one thing and may know each other.
var inside = map[string]bool{"packaging/lab": true, "bench": true}

func floorOf(pkg string) (floor int, room string) {
	floor = -1
	for i, rooms := range floors {
		for _, r := range rooms {
			if (pkg == r || strings.HasPrefix(pkg, r+"/")) && len(r) > len(room) {
				floor, room = i, r
			}
		}
	}
	return floor, room
}

func TestImportsGoDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}:{{join .Imports ","}}`, "./...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		pkg, ok := strings.CutPrefix(pkg, module+"/")
		if !ok {
			continue // the root
		}
		seen++
		from, room := floorOf(pkg)
		if from < 0 {
			t.Errorf("%s stands on no floor: add it to floors", pkg)
			continue
		}
		for imported := range strings.SplitSeq(imports, ",") {
			imported, ok := strings.CutPrefix(imported, module+"/")
			if !ok || sameRoom(pkg, imported) {
				continue
			}
			to, toRoom := floorOf(imported)
			if room == toRoom && inside[room] {
				continue
			}
			if to >= from {
				t.Errorf("%s (floor %d) imports %s (floor %d): data moves one way", pkg, from, imported, to)
			}
		}
	}
	if seen == 0 {
		t.Fatal("go list named no package of this module")
	}
}

// sameRoom allows a package and what lies inside it to know each other.
func sameRoom(a, b string) bool {
	return strings.HasPrefix(a, b+"/internal/") || strings.HasPrefix(b, a+"/internal/") ||
		(strings.Contains(a, "/internal/") && strings.Contains(b, "/internal/") &&
			a[:strings.Index(a, "/internal/")] == b[:strings.Index(b, "/internal/")])
}
