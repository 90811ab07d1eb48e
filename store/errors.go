package store

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// LockedError: another process has the database open.
type LockedError struct {
	Path string
	PID  int    // 0 when it could not be found
	Name string // of that process
}

func (e *LockedError) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d (%s)", e.PID, e.Name)
	}
	return fmt.Sprintf("store: %s is in use by %s; two nodes cannot share a state directory: stop that one, or give this one another --state-dir", e.Path, who)
}

// SchemaError: the file was written by a newer version. It was not touched.
type SchemaError struct {
	Path         string
	Found, Known uint32
	Writer       string // the version that wrote it; may be empty
}

func (e *SchemaError) Error() string {
	who, which := "", "the version that wrote it"
	if e.Writer != "" {
		who, which = fmt.Sprintf(" and was written by version %q", e.Writer), "that version or a newer one"
	}
	return fmt.Sprintf("store: %s has schema %d%s; this version knows %d at most and leaves it as it is; run %s, or move the file away to start afresh", e.Path, e.Found, who, e.Known, which)
}

// CorruptError: the database cannot be trusted.
type CorruptError struct {
	Path string
	Err  error
}

func (e *CorruptError) Error() string { return fmt.Sprintf("store: %s is corrupt: %v", e.Path, e.Err) }
func (e *CorruptError) Unwrap() error { return e.Err }

// SizeError: a record is larger than what can be read back. Nothing was
// written; one that is stored already was written by another version and is
// not touched.
type SizeError struct {
	Bytes int // 0: unknown, and more than Limit
	Limit int
}

func (e *SizeError) Error() string {
	if e.Bytes == 0 {
		return fmt.Sprintf("a record is larger than the %d bytes that this version reads; run the version that wrote it", e.Limit)
	}
	return fmt.Sprintf("a record of %d bytes is larger than the %d that can be read back; keep fewer accounts or zones", e.Bytes, e.Limit)
}

// PermissionError: a database is there and this process may not read it.
// Going on would start the accounts from zero.
type PermissionError struct {
	Path string
	Err  error
}

func (e *PermissionError) Error() string {
	return fmt.Sprintf("store: %s cannot be read: %v; run as its owner, or give another --state-dir", e.Path, e.Err)
}
func (e *PermissionError) Unwrap() error { return e.Err }

// guard runs f on a database that may be damaged: a panic, or a fault in the
// mapping (a file cut short, a failing disk), is a CorruptError.
func guard(path string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &CorruptError{path, fmt.Errorf("%v", p)}
		}
	}()
	err = f()
	if errors.Is(err, errBlob) {
		err = &CorruptError{path, err}
	}
	return err
}
