package store

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestKillNeverGoesBack kills a process that appends, at random, and looks at
// what the next one finds.
func TestKillNeverGoesBack(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	last := 0
	for range 15 {
		cmd := child(nil, "appends", cfg.Dir, cfg.LiveDir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop := rand.IntN(60)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if last, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if n == stop {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()

		s := mustOpen(t, cfg)
		l, err := s.Ledger()
		if err != nil {
			t.Fatal(err)
		}
		if l.Sequence < uint64(last) || l.Accounts[0].Total.CPU < time.Duration(last) {
			t.Fatalf("%d was acknowledged and %d survived", last, l.Sequence)
		}
		points, _ := series(t, s, second(0).Start, time.Time{}, time.Minute)
		if u, _ := total(points, "agent-b"); u.Switches != l.Sequence {
			t.Fatalf("%d seconds were appended and the minutes have %d", l.Sequence, u.Switches)
		}
		if st := s.Stats(); st.Raised != 0 || st.LiveIgnored != 0 || st.Quarantines != 0 {
			t.Fatalf("%+v", st)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if last < 100 {
		t.Fatalf("only %d appends in all", last)
	}
	if r, err := Check(cfg.Dir); err != nil || len(r.Problems) != 0 {
		t.Fatal(r, err)
	}
}

// childAppends goes on from what survived and prints what was acknowledged.
func childAppends(args []string) error {
	s, err := Open(Config{Dir: args[0], LiveDir: args[1], BootID: "boot-1", CommitEvery: 7 * time.Millisecond})
	if err != nil {
		return err
	}
	l, err := s.Ledger()
	if err != nil {
		return err
	}
	for n := int(l.Sequence) + 1; ; n++ {
		// Points are a minute's sixth apart, so that minutes are filed too.
		p := second(n)
		p.Boottime, p.Start = time.Duration(n)*10*time.Second, second(n*10).Start
		if err := s.Append(p, ledgerOf(uint64(n))); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

func TestLockNamesTheHolder(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cmd := child(nil, "holds", cfg.Dir, cfg.LiveDir)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	bufio.NewScanner(out).Scan()
	_, err := Open(cfg)
	var locked *LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("a second store on one directory: %v", err)
	}
	if locked.PID != cmd.Process.Pid || !strings.Contains(err.Error(), strconv.Itoa(locked.PID)) || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("process %d holds it, and the error says: %v", cmd.Process.Pid, err)
	}
	if _, err := Check(cfg.Dir); !errors.As(err, &locked) {
		t.Errorf("Check beside a running node: %v", err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, cfg)
}

func childHolds(args []string) error {
	s, err := Open(Config{Dir: args[0], LiveDir: args[1], BootID: "boot-1"})
	if err != nil {
		return err
	}
	fmt.Println("open")
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	return s.Close()
}

// TestFullDevice fills a small file system of its own.
func TestFullDevice(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system of its own needs root")
	}
	if err := child(ownMounts(t), "full", t.TempDir(), memoryDir(t)).Run(); err != nil {
		t.Fatal("see above: ", err)
	}
}

func childFull(args []string) error {
	mount, live := args[0], args[1]
	if err := run("mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", mount); err != nil {
		return err
	}
	filler := filepath.Join(mount, "filler")
	fill := func() error {
		f, err := os.Create(filler)
		if err != nil {
			return err
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		return nil
	}
	if err := fill(); err != nil {
		return err
	}
	// Full from the first moment.
	cfg := Config{Dir: filepath.Join(mount, "state"), LiveDir: live, BootID: "boot-1", CommitEvery: time.Hour}
	s, err := Open(cfg)
	if err != nil {
		return fmt.Errorf("opening on a full device: %w", err)
	}
	if s.Stats().Degraded == "" {
		return errors.New("a full device is not reported")
	}
	n := 0
	appends := func(count int) error {
		for range count {
			n++
			if err := s.Append(second(n), ledgerOf(uint64(n))); err != nil {
				return err
			}
		}
		return nil
	}
	intact := func(when string) error {
		points, _, err := s.Series(second(0).Start, time.Time{}, time.Minute, nil)
		if u, _ := total(points, "agent-b"); err != nil || u.Switches != uint64(n) {
			return fmt.Errorf("%s: %d of %d seconds are there, %v; %+v", when, u.Switches, n, err, s.Stats())
		}
		return nil
	}
	if err := appends(200); err != nil {
		return err
	}
	if err := s.Commit(); err == nil {
		return errors.New("a commit on a full device succeeded")
	}
	if err := intact("full"); err != nil {
		return err
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	if err := s.Commit(); err != nil {
		return fmt.Errorf("there is room again: %w", err)
	}
	if st := s.Stats(); st.Degraded != "" {
		return fmt.Errorf("still degraded: %s", st.Degraded)
	}
	// Full while it runs: the ledger is still committed, minutes wait.
	if err := fill(); err != nil {
		return err
	}
	for range 60 * 4 {
		if err := appends(60); err != nil {
			return err
		}
		if err := s.Commit(); err != nil && n < 10*3600 {
			fmt.Fprintln(os.Stderr, "commit:", err)
		}
	}
	if st := s.Stats(); st.Degraded == "" || st.Dropped != 0 {
		return fmt.Errorf("full while running: %+v", st)
	}
	if err := intact("full while running"); err != nil {
		return err
	}
	// Killed now, and started with room.
	s.opened.Lock()
	_ = closeDatabase(s.db)
	s.db = nil
	s.opened.Unlock()
	if err := os.Remove(filler); err != nil {
		return err
	}
	if s, err = Open(cfg); err != nil {
		return err
	}
	if l, err := s.Ledger(); err != nil || l.Sequence != uint64(n) {
		return fmt.Errorf("%d was acknowledged and %d survived, %v", n, l.Sequence, err)
	}
	if err := intact("restarted"); err != nil {
		return err
	}
	if err := appends(1); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	r, err := Check(cfg.Dir)
	if err == nil && len(r.Problems) > 0 {
		err = fmt.Errorf("%+v", r)
	}
	return err
}
