package store

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFlashBudget counts the bytes that reach a block device, the file
// system's journal included, for a week's growth and for the steady state in
// which old points make room for new ones.
func TestFlashBudget(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounting a device of its own needs root")
	}
	prefix := ownMounts(t)
	for _, tool := range []string{"mkfs.ext4", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: %v", tool, err)
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("no loop devices: %v", err)
	}
	for _, c := range []struct{ agents, budget int }{{5, 64 << 20}, {50, 100 << 20}} {
		t.Run(fmt.Sprint(c.agents), func(t *testing.T) {
			var out bytes.Buffer
			cmd := child(prefix, "flash", strconv.Itoa(c.agents), memoryDir(t))
			cmd.Stdout = &out
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
				var phase string
				var day int
				if _, err := fmt.Sscan(line, &phase, &day); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				t.Logf("%d agents, %s: %.1f MB a day", c.agents, phase, float64(day)/1e6)
				if day > c.budget {
					t.Errorf("%d agents, %s: %d bytes a day, %d allowed", c.agents, phase, day, c.budget)
				}
			}
		})
	}
}

// childFlash prints bytes a day for each phase.
func childFlash(args []string) error {
	agents, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	image, dir := filepath.Join(args[1], "image"), filepath.Join(args[1], "mount")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, 256<<20); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	// Without lazy initialisation, whose writes would be counted.
	if err := run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image); err != nil {
		return err
	}
	if err := run("mount", "-o", "loop", image, dir); err != nil {
		return err
	}
	defer run("umount", dir)

	const minutes, hours = 3 * 60, 3
	s, err := Open(Config{Dir: filepath.Join(dir, "state"), LiveDir: args[1], BootID: "boot",
		CommitEvery: 24 * time.Hour, Minutes: minutes, Hours: hours})
	if err != nil {
		return err
	}
	defer s.Close()
	f := newFleet(agents)
	phase := func(commits int) (int, error) {
		if err := flush(dir); err != nil {
			return 0, err
		}
		before, err := sectors(dir)
		if err != nil {
			return 0, err
		}
		for range commits {
			for range 6 {
				f.n += 9 // six points of ten seconds each are quicker than sixty
				p, l := f.next()
				if err := s.Append(p, l); err != nil {
					return 0, err
				}
			}
			// A minute passes: the file system's own commit timer (5 s) runs.
			if err := s.Commit(); err != nil {
				return 0, err
			}
			if err := flush(dir); err != nil {
				return 0, err
			}
		}
		after, err := sectors(dir)
		return (after - before) * 512 * 1440 / commits, err
	}
	for _, p := range []struct {
		name    string
		commits int
	}{{"growing", minutes}, {"filling", 150}, {"steady", 180}} {
		day, err := phase(p.commits)
		if err != nil {
			return err
		}
		if p.name != "filling" {
			fmt.Println(p.name, day)
		}
	}
	return nil
}

func flush(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// sectors is how many 512-byte sectors were written to the device below dir
// (Documentation/block/stat.rst, the 7th field).
func sectors(dir string) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, err
	}
	b, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.Fields(string(b))[6])
}
