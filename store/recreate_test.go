package store

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRemovedWhileOpen(t *testing.T) {
	for name, remove := range map[string]func(cfg Config) error{
		"file":      func(cfg Config) error { return os.Remove(filepath.Join(cfg.Dir, FileName)) },
		"directory": func(cfg Config) error { return os.RemoveAll(cfg.Dir) },
		"both directories": func(cfg Config) error {
			return errors.Join(os.RemoveAll(cfg.Dir), os.RemoveAll(cfg.LiveDir))
		},
		"moved": func(cfg Config) error { return os.Rename(cfg.Dir, cfg.Dir+".old") },
	} {
		for after, then := range map[string]func(s *Store) error{
			"append": func(s *Store) error { return s.Append(second(7200), ledgerOf(120)) },
			"commit": func(s *Store) error { return s.Commit() },
		} {
			t.Run(name+", "+after, func(t *testing.T) {
				t.Parallel()
				cfg := testConfig(t)
				cfg.noSync = true
				cfg.Dir = filepath.Join(cfg.Dir, "state")
				s := mustOpen(t, cfg)
				for n := 0; n < 7200; n += 60 {
					if err := s.Append(second(n), ledgerOf(uint64(n/60))); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Commit(); err != nil {
					t.Fatal(err)
				}
				id, sequence := s.id, uint64(119)
				if err := remove(cfg); err != nil {
					t.Fatal(err)
				}
				if err := then(s); err != nil {
					t.Fatal(err)
				}
				if after == "append" {
					sequence++
				}
				if st := s.Stats(); st.Recreated != 1 || st.Degraded != "" {
					t.Fatalf("%+v", st)
				}
				s.dirty = false // as SIGKILL leaves it
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if r, err := Check(cfg.Dir); err != nil || len(r.Problems) > 0 || r.Hours == 0 || r.Store != id.String() {
					t.Fatalf("%+v, %v", r, err)
				}
				s = mustOpen(t, cfg)
				points, _ := series(t, s, second(0).Start, time.Time{}, time.Hour)
				_, covered := total(points, "agent-b")
				if sequenceOf(t, s) != sequence || covered != time.Duration(sequence+1)*time.Second || s.Stats().LiveIgnored != 0 {
					t.Fatalf("sequence %d, %v covered, %+v", sequenceOf(t, s), covered, s.Stats())
				}
			})
		}
	}
}

func TestRemovedDirectoryThatCannotBeMade(t *testing.T) {
	cfg := testConfig(t)
	cfg.Dir = filepath.Join(cfg.Dir, "state")
	s := mustOpen(t, cfg)
	appendSeconds(t, s, 1, 100)
	if err := errors.Join(os.RemoveAll(cfg.Dir), os.WriteFile(cfg.Dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err == nil || s.Stats().Degraded == "" {
		t.Fatalf("committed to nowhere: %v", err)
	}
	appendSeconds(t, s, 100, 102) // which need not try each time
	if st := s.Stats(); st.CommitsFailed != 1 || st.Recreated != 0 {
		t.Errorf("%+v", st)
	}
	if err := os.Remove(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Degraded != "" || st.Recreated != 1 {
		t.Errorf("%+v", st)
	}
}

// TestReplacedWhileOpen puts another file in the database's place: a backup of
// this store is taken up and gets the newer accounts, another store's is not
// touched.
func TestReplacedWhileOpen(t *testing.T) {
	cfg := testConfig(t)
	path := filepath.Join(cfg.Dir, FileName)
	s := mustOpen(t, cfg)
	appendSeconds(t, s, 1, 100)
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	backup, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(file []byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path+".new", file, 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	appendSeconds(t, s, 100, 200)
	put(backup)
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Check(); err != nil || len(r.Problems) > 0 || r.Generation != 199 {
		t.Fatalf("%+v, %v", r, err)
	}
	other, _ := madeStore(t)
	put(other)
	for range 2 { // it says so for as long as it is there
		if err := s.Commit(); err == nil || !strings.Contains(err.Error(), "another store") {
			t.Fatalf("over another store: %v", err)
		}
	}
	if file, _ := os.ReadFile(path); string(file) != string(other) {
		t.Error("another store's database was touched")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, cfg)
	if n := sequenceOf(t, s); n != 199 || s.Stats().LiveIgnored != 0 {
		t.Errorf("sequence %d, %+v", n, s.Stats())
	}
}

func TestDatabaseMustBeARegularFile(t *testing.T) {
	for name, place := range map[string]func(path string) error{
		"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"link":      func(path string) error { return os.Symlink("elsewhere", path) },
		"socket": func(path string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err == nil {
				l.SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.Dir = memoryDir(t) // short, for the socket
			path := filepath.Join(cfg.Dir, FileName)
			if err := place(path); err != nil {
				t.Fatal(err)
			}
			if _, err := Check(path); err == nil || name == "pipe" && !strings.Contains(err.Error(), "no regular file") {
				t.Errorf("Check: %v", err)
			}
			s := mustOpen(t, cfg)
			if d := s.Stats().Degraded; !strings.Contains(d, path) || name == "pipe" && !strings.Contains(d, "no regular file") {
				t.Errorf("degraded: %q", d)
			}
			appendSeconds(t, s, 1, 6)
			if err := s.Commit(); err == nil {
				t.Error("it was committed to")
			}
			if _, err := os.Stat(path + ".corrupt"); err == nil {
				t.Error("moved aside")
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(); err != nil {
				t.Fatal("the place is free again: ", err)
			}
		})
	}
}
