package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cam-os/edge/store/internal/storepb"
)

// live is the copy of the state in a tmpfs, written after every Append. It
// outlives the process and not the boot, and costs no flash.
type live struct {
	path   string // empty: there is no tmpfs
	bytes  int
	writes uint64
	failed uint64
}

// choose finds the directory. The name comes from the state directory, so that
// two stores do not meet, and the user, so that nobody else's file is in the
// way.
func (l *live) choose(cfg Config) {
	sum := sha256.Sum256([]byte(cfg.Dir))
	name := fmt.Sprintf("cam-node-%d-%s.live", os.Geteuid(), hex.EncodeToString(sum[:8]))
	if cfg.LiveDir != "" {
		if err := os.MkdirAll(cfg.LiveDir, 0o700); err != nil {
			cfg.Log.Warn("store: no live copy", "error", err)
			return
		}
		l.path = filepath.Join(cfg.LiveDir, name)
		return
	}
	if onTmpfs(cfg.Dir) && unix.Access(cfg.Dir, unix.W_OK) == nil {
		l.path = filepath.Join(cfg.Dir, "state.live")
		return
	}
	if os.Geteuid() == 0 && onTmpfs("/run") && os.MkdirAll("/run/cam-node", 0o700) == nil {
		l.path = filepath.Join("/run/cam-node", name)
		return
	}
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/dev/shm"} {
		if dir != "" && onTmpfs(dir) && unix.Access(dir, unix.W_OK) == nil {
			l.path = filepath.Join(dir, name)
			return
		}
	}
}

// onTmpfs says whether dir is in memory (include/uapi/linux/magic.h).
func onTmpfs(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	return uint32(st.Type) == unix.TMPFS_MAGIC || uint32(st.Type) == unix.RAMFS_MAGIC // #nosec G115 -- a magic number
}

// read returns the state of the live copy, nil when there is none. An error
// says why a copy that is there must not be believed.
func (l *live) read(c *codec) (*storepb.State, error) {
	if l.path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(l.path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, errors.New("it is no regular file")
	case int(st.Uid) != os.Geteuid():
		return nil, fmt.Errorf("it belongs to uid %d, not %d", st.Uid, os.Geteuid())
	case st.Mode&0o022 != 0:
		return nil, fmt.Errorf("others may write it (mode %o)", st.Mode&0o777)
	case st.Size > maxBlob+sealOverhead:
		return nil, fmt.Errorf("it has %d bytes", st.Size)
	}
	blob, err := io.ReadAll(io.LimitReader(f, maxBlob+sealOverhead))
	if err != nil {
		return nil, err
	}
	return c.openState(blob)
}

// write replaces the copy whole: a reader sees the old or the new one.
func (l *live) write(blob []byte) (err error) {
	if l.path == "" {
		return nil
	}
	defer func() {
		if err != nil {
			l.failed++
			err = fmt.Errorf("store: live copy: %w", err)
		}
	}()
	tmp := l.path + ".new"
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL | unix.O_NOFOLLOW
	f, err := os.OpenFile(tmp, flags, 0o600) // #nosec G304 -- a path of our own making
	switch {
	case errors.Is(err, fs.ErrExist): // left by a kill
		_ = os.Remove(tmp)
		f, err = os.OpenFile(tmp, flags, 0o600) // #nosec G304 -- as above
	case errors.Is(err, fs.ErrNotExist): // somebody removed the directory
		if err = os.MkdirAll(filepath.Dir(tmp), 0o700); err == nil {
			f, err = os.OpenFile(tmp, flags, 0o600) // #nosec G304 -- as above
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(blob)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, l.path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	l.bytes = len(blob)
	l.writes++
	return nil
}
