package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killed leaves a store as SIGKILL would: committed at 5, live at 9.
func killed(t *testing.T, cfg Config) (live string) {
	t.Helper()
	s := mustOpen(t, cfg)
	appendSeconds(t, s, 1, 6)
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	appendSeconds(t, s, 6, 10)
	s.dirty = false // Close commits nothing
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s.live.path
}

func sequenceOf(t *testing.T, s *Store) uint64 {
	t.Helper()
	l, err := s.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	return l.Sequence
}

func TestLiveCopyIsBelievedOnlyWhenItsOwn(t *testing.T) {
	for name, c := range map[string]struct {
		spoil    func(path string) error
		sequence uint64
		ignored  uint64
	}{
		"whole":   {func(string) error { return nil }, 9, 0},
		"missing": {os.Remove, 5, 0},
		"torn": {func(path string) error {
			fi, err := os.Stat(path)
			return errors.Join(err, os.Truncate(path, fi.Size()-1))
		}, 5, 1},
		"garbage": {func(path string) error { return os.WriteFile(path, []byte("what is this?"), 0o600) }, 5, 1},
		"empty":   {func(path string) error { return os.Truncate(path, 0) }, 5, 1},
		"writable by others": {func(path string) error {
			return os.Chmod(path, 0o666)
		}, 5, 1},
		"a link": {func(path string) error {
			return errors.Join(os.Rename(path, path+".elsewhere"), os.Symlink(path+".elsewhere", path))
		}, 5, 1},
		"a pipe": {func(path string) error {
			return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
		}, 5, 1},
		"huge": {func(path string) error { return os.Truncate(path, 1<<40) }, 5, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			if err := c.spoil(killed(t, cfg)); err != nil {
				t.Fatal(err)
			}
			s := mustOpen(t, cfg)
			if n := sequenceOf(t, s); n != c.sequence {
				t.Errorf("sequence %d, want %d", n, c.sequence)
			}
			if st := s.Stats(); st.LiveIgnored != c.ignored {
				t.Errorf("%d ignored, want %d", st.LiveIgnored, c.ignored)
			}
			if name == "a pipe" || name == "a link" {
				return
			}
			appendSeconds(t, s, 10, 11) // and it is written again
			if st := s.Stats(); st.LiveWrites != 1 || st.LiveFailed != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestLiveCopyOfAnotherOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a file away needs root")
	}
	cfg := testConfig(t)
	if err := os.Chown(killed(t, cfg), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if n := sequenceOf(t, mustOpen(t, cfg)); n != 5 {
		t.Errorf("sequence %d: another's file was believed", n)
	}
}

func TestLiveCopyOfAnotherStore(t *testing.T) {
	cfg := testConfig(t)
	killed(t, cfg)
	// Started afresh: the old accounts must not come back.
	if err := os.Remove(filepath.Join(cfg.Dir, FileName)); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, cfg)
	if st := s.Stats(); sequenceOf(t, s) != 0 || st.LiveIgnored != 1 {
		t.Errorf("sequence %d, %+v", sequenceOf(t, s), st)
	}
}

func TestRebootLosesOnlyTheLiveCopy(t *testing.T) {
	cfg := testConfig(t)
	if err := os.Remove(killed(t, cfg)); err != nil {
		t.Fatal(err)
	}
	cfg.BootID = "boot-2"
	s := mustOpen(t, cfg)
	if n := sequenceOf(t, s); n != 5 {
		t.Fatalf("sequence %d", n)
	}
	p := second(3) // the new boot's third second, a day later
	p.Start = p.Start.Add(24 * time.Hour)
	if err := s.Append(p, ledgerOf(6)); err != nil {
		t.Fatal(err)
	}
	points, _ := series(t, s, second(0).Start, time.Time{}, time.Minute)
	if len(points) != 2 || points[0].Covered != 5*time.Second || points[1].Covered != time.Second {
		t.Errorf("%+v", points)
	}
}

func TestLiveDirectoryIsChosen(t *testing.T) {
	dir := memoryDir(t)
	if !onTmpfs(dir) {
		t.Skip("no tmpfs at /dev/shm on this machine")
	}
	if got := livePath(Config{Dir: dir}); filepath.Dir(got) != dir {
		t.Errorf("a state directory in memory has its live copy at %s", got)
	}
	disk := t.TempDir()
	if onTmpfs(disk) {
		t.Skip("the tests' own directory is a tmpfs")
	}
	t.Setenv("XDG_RUNTIME_DIR", dir)
	got := livePath(Config{Dir: disk})
	if want := dir; os.Geteuid() == 0 && onTmpfs("/run") {
		want = "/run/cam-node"
		if filepath.Dir(got) != want {
			t.Errorf("root has its live copy at %s", got)
		}
	} else if filepath.Dir(got) != want {
		t.Errorf("live copy at %s, want it in %s", got, want)
	}
	if other := livePath(Config{Dir: disk + "x"}); other == got {
		t.Error("two state directories share a live copy")
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting read-only needs root")
	}
	cfg := testConfig(t)
	killed(t, cfg)
	if err := child(ownMounts(t), "readonly", cfg.Dir, cfg.LiveDir).Run(); err != nil {
		t.Fatal("see above: ", err)
	}
}

func childReadOnly(args []string) error {
	dir := args[0]
	if err := errors.Join(run("mount", "--bind", dir, dir), run("mount", "-o", "remount,bind,ro", dir)); err != nil {
		return err
	}
	s, err := Open(Config{Dir: dir, LiveDir: args[1], BootID: "boot-1"})
	if err != nil {
		return err
	}
	l, err := s.Ledger()
	if err != nil || l.Sequence != 9 {
		return fmt.Errorf("read-only: sequence %d, %w", l.Sequence, err)
	}
	if st := s.Stats(); !strings.Contains(st.Degraded, "read-only") {
		return fmt.Errorf("not reported: %+v", st)
	}
	if err := s.Append(second(10), ledgerOf(10)); err != nil {
		return err
	}
	if err := s.Commit(); err == nil {
		return errors.New("a commit to a read-only directory succeeded")
	}
	points, _, err := s.Series(second(0).Start, time.Time{}, time.Minute, nil)
	if _, covered := total(points, "agent-b"); err != nil || covered != 10*time.Second {
		return fmt.Errorf("read-only: %v, %w", points, err)
	}
	if err := run("mount", "-o", "remount,bind,rw", dir); err != nil {
		return err
	}
	if err := s.Commit(); err != nil {
		return fmt.Errorf("writable again: %w", err)
	}
	if st := s.Stats(); st.Degraded != "" {
		return fmt.Errorf("still degraded: %s", st.Degraded)
	}
	return s.Close()
}

func TestAnothersDatabaseIsNotStartedAfresh(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	dir, err := os.MkdirTemp("/dev/shm", "cam-store-test-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(dir)
	cfg := testConfig(t)
	cfg.Dir = dir
	killed(t, cfg)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := child(nil, "stranger", dir)
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = filepath.Join(dir, "test") // where a stranger may execute it
	if err := os.WriteFile(cmd.Path, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = dir
	if err := cmd.Run(); err != nil {
		t.Fatal("see above: ", err)
	}
}

func childStranger(args []string) error {
	_, err := Open(Config{Dir: args[0], BootID: "boot-1"})
	var denied *PermissionError
	if !errors.As(err, &denied) {
		return fmt.Errorf("a database that may not be read: %w", err)
	}
	return nil
}
