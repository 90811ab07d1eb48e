package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// displaced says whether the open file is no longer the one at the store's
// path, and whether the path is free. What cannot be told counts as in place.
func (s *Store) displaced() (displaced, free bool) {
	fi, err := os.Lstat(s.path)
	if err != nil {
		gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
		return gone, gone
	}
	return s.inode == nil || !os.SameFile(fi, s.inode), false
}

// lost says that commits go to a file that nobody will find again, and that
// a commit may help: not where one just failed.
func (s *Store) lost() bool {
	if s.db == nil || s.db.IsReadOnly() || s.stats.Degraded != "" {
		return false
	}
	displaced, _ := s.displaced()
	return displaced
}

// recreate makes the database anew, with the same id and all it held, where
// its file or directory was removed while it was open. Another file that was
// put in its place is not touched: the database is let go, and reopen decides
// whether the other one is of this store.
func (s *Store) recreate() error {
	if s.db == nil || s.db.IsReadOnly() {
		return nil
	}
	displaced, free := s.displaced()
	if !displaced {
		return nil
	}
	s.dirty = true
	if free {
		if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
			return fmt.Errorf("the state directory was removed and cannot be made anew: %w", err)
		}
		err := guard(s.path, func() error { return s.compact(renameNew) })
		if err == nil {
			s.stats.Recreated++
			s.cfg.Log.Error("store: the database was removed while in use; it was made anew with all it held", "path", s.path)
			return nil
		}
		s.cfg.Log.Warn("store: the removed database could not be copied; its older points are lost", "error", err)
	}
	s.stats.Recreated++
	s.cfg.Log.Error("store: the database was removed or replaced while in use; its accounts go on from memory", "path", s.path)
	if old := s.db; old != nil {
		s.opened.Lock()
		defer s.opened.Unlock()
		s.db, s.inode = nil, nil
		_ = closeDatabase(old)
	}
	return nil
}

// renameNew renames, and never over a file that is there.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not every file system can
		return errors.Join(os.Link(from, to), os.Remove(from))
	}
	return err
}
