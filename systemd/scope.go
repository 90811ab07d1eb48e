// Package systemd talks to the service manager.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Booted says whether systemd is the service manager: sd_booted(3).
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// ErrUnitExists is wrapped when a unit of that name is already loaded.
var ErrUnitExists = errors.New("a unit of that name exists")

// StartScope makes a transient scope below slice, moves pid into it and
// returns its cgroup below the cgroup2 root. The scope ends when its last
// process has; it is not tied to the caller's own unit, so that it outlives a
// restart of the node. Accounting of CPU, I/O, memory and tasks is on, which
// enables the io, memory and pids controllers for the scope. The cpu controller
// is not needed to account on cgroup v2, and comes with the first limit (seen
// with systemd 252).
func StartScope(ctx context.Context, unit, slice, description string, pid uint32) (string, error) {
	conn, err := connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	props := []dbus.Property{
		dbus.PropDescription(description),
		dbus.PropSlice(slice),
		dbus.PropPids(pid),
		accounting("CPUAccounting"), accounting("IOAccounting"),
		accounting("MemoryAccounting"), accounting("TasksAccounting"),
	}
	done := make(chan string, 1)
	if _, err := conn.StartTransientUnitContext(ctx, unit, "fail", props, done); err != nil {
		if isUnitExists(err) {
			return "", fmt.Errorf("%s: %w", unit, ErrUnitExists)
		}
		return "", fmt.Errorf("systemd refused to start %s: %w", unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return "", fmt.Errorf("systemd did not start %s: job %s; see `systemctl status %s`", unit, result, unit)
		}
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for systemd to start %s: %w", unit, ctx.Err())
	}
	prop, err := conn.GetUnitTypePropertyContext(ctx, unit, "Scope", "ControlGroup")
	if err != nil {
		return "", fmt.Errorf("cannot learn the cgroup of %s: %w", unit, err)
	}
	path, ok := prop.Value.Value().(string)
	if !ok || path == "" {
		return "", fmt.Errorf("systemd names no cgroup for %s", unit)
	}
	return path, nil
}

// connect talks to systemd itself where that lets us, which is root: the D-Bus
// daemon may be missing, or still starting when a device boots. Others go
// through the system bus.
func connect(ctx context.Context) (*dbus.Conn, error) {
	conn, direct := dbus.NewSystemdConnectionContext(ctx)
	if direct == nil {
		return conn, nil
	}
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err == nil {
		return conn, nil
	}
	if ctx.Err() != nil {
		// The library says "use of closed network connection".
		err = fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	return nil, fmt.Errorf("cannot reach systemd: %w", errors.Join(direct, err))
}
