//go:build lab

package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/packaging/lab/initramfs"
	"github.com/cam-os/edge/packaging/lab/machine"
	"github.com/cam-os/edge/packaging/lab/volatile"
	"github.com/cam-os/edge/packaging/lab/wire"
)

// cutter cuts the power of a minimal guest again and again.
type cutter struct {
	config machine.Config
	disk   *volatile.Disk
	rng    *rand.Rand
}

// latency of a flush.
const latency = 50 * time.Millisecond

// newCutter prepares a guest with a node, and an empty disk. unsafe makes the
// node not sync.
func newCutter(t *testing.T, unsafe bool) *cutter {
	t.Helper()
	arch := env("CAM_LAB_ARCH", "amd64")
	img, err := machine.Build(env("CAM_LAB_SUITE", "bookworm"), arch, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "cut")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var flags []string
	if unsafe {
		flags = []string{"-overlay=" + withoutSync(t, dir)}
	}
	files, err := initramfs.Modules(img.Modules, "virtio_pci", "virtio_blk", "ext4")
	if err != nil {
		t.Fatal(err)
	}
	for name, pkg := range map[string]string{"init": "./packaging/lab/inside", "cam-node": "./cmd/cam-node"} {
		out := filepath.Join(dir, name)
		if err := machine.GoBuild(arch, pkg, out, flags...); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, initramfs.File{Name: name, Data: data})
	}
	initrd := filepath.Join(dir, "initrd")
	f, err := os.Create(initrd)
	if err != nil {
		t.Fatal(err)
	}
	if err := initramfs.Write(f, files); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(dir, "state.img")
	mkfs := exec.Command("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0", raw, "32M")
	mkfs.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := mkfs.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	contents, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	// As slow as flash.
	disk, err := volatile.NewDisk(contents, latency)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "nbd")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				if err := disk.Serve(conn); err != nil {
					t.Errorf("the disk: %v", err)
				}
			}()
		}
	}()
	seed, err := strconv.ParseUint(env("CAM_LAB_SEED", "1"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return &cutter{
		disk: disk, rng: rand.New(rand.NewPCG(seed, 0)),
		config: machine.Config{
			Arch: arch, Kernel: img.Kernel, Initrd: initrd, Dir: dir, Memory: 384, CPUs: 1,
			Append: "quiet loglevel=1 rdinit=/init",
			Disks:  []string{"format=raw,cache=writeback,file=nbd:unix:" + socket},
		},
	}
}

// withoutSync is an overlay (go help build) in which the store's database does
// not sync, as some collectors' does not by default.
func withoutSync(t *testing.T, dir string) string {
	t.Helper()
	source, err := filepath.Abs("../../store/database.go")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const sync = "cfg.noSync,"
	if strings.Count(string(code), sync) != 2 { // NoSync and NoGrowSync
		t.Fatalf("%s has changed: tell this test where bbolt's NoSync is set", source)
	}
	patched, overlay := filepath.Join(dir, "database.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(patched, []byte(strings.Replace(string(code), sync, "true,", 2)), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := json.Marshal(map[string]any{"Replace": map[string]string{source: patched}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, rules, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// figures are the node's counters by name.
type figures map[string]float64

// cycle is what one life of the guest showed.
type cycle struct {
	started   figures // as the node had them after the start; nil: it had none
	committed figures // what the latest commit covers
	commits   int
	failed    string // why the guest stopped by itself
	unflushed int
	lost      int
}

// cut boots the guest, waits for a commit with something at stake, and takes
// the power away: within the next write to the disk, or at any time after.
func (c *cutter) cut(survives float64, within bool) (cycle, error) {
	var out cycle
	console, w := io.Pipe()
	config := c.config
	config.Console = w
	g, err := machine.Start(config)
	if err != nil {
		return out, err
	}
	defer console.Close()
	events := make(chan string)
	go func() {
		defer close(events)
		lines := bufio.NewScanner(console)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if line := strings.TrimRight(lines.Text(), "\r"); strings.HasPrefix(line, "LAB-") {
				events <- line
			}
		}
	}()
	var flush <-chan struct{}
	var power <-chan time.Time // when it goes
	limit := time.After(2 * time.Minute)
	for wait := true; wait; {
		select {
		case line := <-events:
			what, text, _ := strings.Cut(line, " ")
			var f figures
			if what != wire.Failed && json.Unmarshal([]byte(text), &f) != nil {
				continue
			}
			switch what {
			case wire.Started:
				out.started = f
			case wire.Committed:
				out.committed, out.commits = f, out.commits+1
				// Something is at stake that the start did not have.
				switch {
				case power != nil || flush != nil || f[wire.Stake] <= out.started[wire.Stake]:
				case within:
					flush = c.disk.NextFlush()
				default:
					power = time.After(time.Duration(c.rng.Int64N(int64(1500 * time.Millisecond))))
				}
			case wire.Failed:
				out.failed, wait = text, false
			}
		case <-flush:
			flush, power = nil, time.After(time.Duration(c.rng.Int64N(int64(latency))))
		case <-power:
			wait = false
		case <-limit:
			out.failed, wait = "nothing was committed within two minutes\n"+g.Console(), false
		case <-g.Exited():
			out.failed, wait = "the guest went off by itself\n"+g.Console(), false
		}
	}
	// Commits that were reported before the power went are acknowledged.
	go func() {
		for range events {
		}
	}()
	err = g.Kill()
	_ = w.Close()
	out.unflushed, out.lost = c.disk.Cut(survives, c.rng)
	return out, err
}

// losses compares what a boot started with to what was committed before.
func losses(committed, started figures) []string {
	var out []string
	for name, v := range committed {
		if !wire.Lasting(name) {
			continue
		}
		if got := started[name]; got < v {
			out = append(out, fmt.Sprintf("%s was %v, is %v", name, v, got))
		}
	}
	if q := started["cam_store_quarantines_total{}"]; q > 0 {
		out = append(out, "the database was damaged and moved aside")
	}
	return out
}

// cycles cuts the power n times and returns how often something was lost.
func (c *cutter) cycles(t *testing.T, n int, stop bool) (lost int) {
	t.Helper()
	var acknowledged figures
	commits, within := 0, 0
	for i := range n {
		// Every other pair of cuts loses all that was not flushed; with the others it was
		// about to be written, and some of it was, in any order.
		survives := float64(i/2%2) * c.rng.Float64()
		began := time.Now()
		got, err := c.cut(survives, i%2 == 0)
		if err != nil {
			t.Fatal(err)
		}
		commits += got.commits
		if got.unflushed > 0 {
			within++
		}
		var wrong []string
		switch {
		case got.failed != "":
			wrong = []string{got.failed}
		case acknowledged != nil:
			wrong = losses(acknowledged, got.started)
		}
		t.Logf("cut %d after %v: %d commits, %d of %d unflushed blocks lost, %d of %d figures gone",
			i+1, time.Since(began).Round(100*time.Millisecond), got.commits, got.lost, got.unflushed, len(wrong), len(acknowledged))
		if len(wrong) > 0 {
			lost++
			t.Logf("lost: %s", strings.Join(wrong[:min(len(wrong), 3)], "; "))
			if stop {
				n = i + 1
				break
			}
		}
		if got.committed != nil {
			acknowledged = got.committed
		}
	}
	fmt.Fprintf(os.Stderr, "lab: %s: %d cuts, %d of them within a write, %d commits, %d losses\n", t.Name(), n, within, commits, lost)
	return lost
}

func cuts(t *testing.T, name string, otherwise int) int {
	n, err := strconv.Atoi(env(name, strconv.Itoa(otherwise)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What a commit acknowledged is there after the power was cut.
func TestPowerCut(t *testing.T) {
	if lost := newCutter(t, false).cycles(t, cuts(t, "CAM_LAB_CUTS", 10), false); lost > 0 {
		t.Errorf("%d losses", lost)
	}
}

// The negative control: a node that does not sync must lose, or TestPowerCut
// proves nothing.
func TestPowerCutFindsANodeThatDoesNotSync(t *testing.T) {
	if lost := newCutter(t, true).cycles(t, cuts(t, "CAM_LAB_CUTS", 10), os.Getenv("CAM_LAB_CUTS") == ""); lost == 0 {
		t.Error("a node that does not sync lost nothing: this lab would not notice")
	}
}
