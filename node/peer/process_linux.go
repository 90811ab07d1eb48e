package peer

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// process is a peer that is held: its number cannot be mistaken.
type process struct {
	Peer
	pidfd  *os.File
	cgroup *os.File // /proc/PID/cgroup, bound to the process
	// cgroupID is the kernel's id of Cgroup, 0 where a pidfd does not tell it.
	cgroupID uint64
	// unproven is how much data was queued when the number came to be held; -1
	// when the kernel itself named the process. See the package comment.
	unproven int
}

// hold finds out who connected fd, a connected unix stream socket that was
// accepted at a CLOCK_BOOTTIME. With noPidfd it does so as on kernels before
// SO_PEERPIDFD.
func hold(fd int, accepted time.Duration, noPidfd bool) (_ *process, err error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, refuse(Unknown, "peer credentials: %w", err)
	}
	if cred.Pid <= 0 {
		return nil, refuse(Foreign, "the peer is outside of the node's pid namespace")
	}
	groups, err := peerGroups(fd)
	if err != nil {
		return nil, refuse(Unknown, "peer groups: %w", err)
	}
	p := &process{
		Peer:     Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid, Groups: groups},
		unproven: -1,
	}
	defer func() {
		if err != nil {
			p.release()
		}
	}()
	pidfd := -1
	if !noPidfd {
		pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		switch {
		case errors.Is(err, unix.ENOPROTOOPT):
			noPidfd = true
		case err != nil:
			return nil, refuse(Exited, "process %d has exited (%w)", p.PID, err)
		}
	}
	if noPidfd {
		if pidfd, err = unix.PidfdOpen(p.PID, 0); err != nil {
			return nil, refuse(Exited, "process %d cannot be held: %w", p.PID, err)
		}
		if p.unproven, err = unix.IoctlGetInt(fd, unix.SIOCINQ); err != nil {
			_ = unix.Close(pidfd)
			return nil, refuse(Unknown, "queued data: %w", err)
		}
	}
	// Non-blocking, so that os.File puts it in the runtime's poller.
	if err := unix.SetNonblock(pidfd, true); err != nil {
		_ = unix.Close(pidfd)
		return nil, refuse(Unknown, "pidfd: %w", err)
	}
	p.pidfd = os.NewFile(uintptr(pidfd), "pidfd") // #nosec G115 -- a descriptor
	return p, p.look(accepted, noPidfd)
}

// look reads what /proc knows. That the process lives afterwards proves that
// its number was its own while it was read.
func (p *process) look(accepted time.Duration, noPidfd bool) error {
	dir := "/proc/" + strconv.Itoa(p.PID)
	stat, err := os.ReadFile(dir + "/stat") // #nosec G304 -- a number below /proc
	if err != nil {
		return p.unreadable(err)
	}
	if p.cgroup, err = os.Open(dir + "/cgroup"); err != nil { // #nosec G304 -- as above
		return p.unreadable(err)
	}
	state, start, err := startTime(stat)
	if err != nil {
		return refuse(Unknown, "process %d: %w", p.PID, err)
	}
	p.StartTime = start
	before := uint64(0)
	if !noPidfd {
		before = p.askCgroupID()
	}
	if p.Cgroup, err = p.readCgroup(); err != nil {
		return err
	}
	if before != 0 && p.askCgroupID() == before {
		p.cgroupID = before
	}
	if !p.alive() {
		return refuse(Exited, "process %d has exited", p.PID)
	}
	// A dead leader with living threads keeps the cgroup that it died in,
	// wherever they are moved (cgroup_migrate_add_task skips PF_EXITING).
	if state == 'Z' || state == 'X' {
		return refuse(Exited, "the main thread of process %d has exited", p.PID)
	}
	// In the same tick, either may have been first; Check settles that.
	if noPidfd && start > accepted {
		return refuse(Reused, "process %d started after the connection was accepted", p.PID)
	}
	return nil
}

func (p *process) unreadable(err error) error {
	if !p.alive() {
		return refuse(Exited, "process %d has exited", p.PID)
	}
	return refuse(Unknown, "process %d cannot be read: %w (a /proc with hidepid needs the node to be root)", p.PID, err)
}

// readCgroup reads the open /proc/PID/cgroup again. One read gives all of it,
// as it was at one moment (fs/seq_file.c, single_open).
func (p *process) readCgroup() (string, error) {
	var buf [2 * unix.PathMax]byte
	rc, err := p.cgroup.SyscallConn()
	if err != nil {
		return "", refuse(Exited, "the connection is closed")
	}
	n := 0
	if rc.Read(func(fd uintptr) bool {
		n, err = unix.Pread(int(fd), buf[:], 0) // #nosec G115 -- a descriptor
		return true
	}) != nil {
		return "", refuse(Exited, "the connection is closed")
	}
	switch {
	case errors.Is(err, unix.ESRCH):
		return "", refuse(Exited, "process %d has exited", p.PID)
	case err != nil:
		return "", refuse(Unknown, "cgroup of process %d: %w", p.PID, err)
	case n == len(buf):
		return "", refuse(Unknown, "cgroup of process %d: the file is too long", p.PID)
	}
	path, err := cgroupPath(buf[:n])
	switch {
	case errors.Is(err, errForeign):
		return "", refuse(Foreign, "process %d: %w", p.PID, err)
	case err != nil:
		return "", refuse(Unknown, "process %d: %w", p.PID, err)
	}
	return path, nil
}

// askCgroupID asks the pidfd for the id of the process' cgroup: 0 before Linux
// 6.13 (PIDFD_GET_INFO), or when the process is gone. It takes no lock, where
// /proc/PID/cgroup takes the kernel's one cgroup mutex.
func (p *process) askCgroupID() uint64 {
	rc, err := p.pidfd.SyscallConn()
	if err != nil {
		return 0
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_CGROUPID}
	if rc.Control(func(fd uintptr) { err = unix.IoctlPidfdInfo(int(fd), &info) }) != nil || err != nil || // #nosec G115 -- a descriptor
		info.Mask&unix.PIDFD_INFO_CGROUPID == 0 {
		return 0
	}
	return info.Cgroupid
}

// check says whether the peer still is what it was.
func (p *process) check() error {
	if p.cgroupID != 0 && p.askCgroupID() == p.cgroupID && p.alive() {
		return nil
	}
	// The slow way, which also says what is wrong.
	now, err := p.readCgroup()
	if err != nil {
		return err
	}
	if !p.alive() {
		return refuse(Exited, "process %d has exited", p.PID)
	}
	if now != p.Cgroup {
		return refuse(Moved, "process %d has moved to another cgroup: connect again", p.PID)
	}
	return nil
}

// alive asks the pidfd, which polls readable once the whole process, not only
// its main thread, has exited. What cannot be asked counts as dead.
func (p *process) alive() bool {
	rc, err := p.pidfd.SyscallConn()
	if err != nil {
		return false
	}
	alive := false
	err = rc.Control(func(fd uintptr) { alive = !exited(fd) })
	return err == nil && alive
}

func exited(pidfd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}} // #nosec G115 -- a descriptor
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return n != 0 || err != nil
		}
	}
}

// wait returns when the process has exited (true) or was released (false).
func (p *process) wait() bool {
	rc, err := p.pidfd.SyscallConn()
	if err != nil {
		return false
	}
	return rc.Read(exited) == nil
}

func (p *process) release() {
	if p.pidfd != nil {
		_ = p.pidfd.Close()
	}
	if p.cgroup != nil {
		_ = p.cgroup.Close()
	}
}

// peerGroups is SO_PEERGROUPS, the supplementary groups at the time of
// connecting (net/core/sock.c: gid_t array; ERANGE and the length needed when
// there is no room).
func peerGroups(fd int) ([]uint32, error) {
	gids := make([]uint32, 32)
	for {
		size := uint32(len(gids) * 4)                                                                       // #nosec G115 -- at most NGROUPS_MAX = 65536
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS, // #nosec G115 -- a descriptor
			uintptr(unsafe.Pointer(unsafe.SliceData(gids))), uintptr(unsafe.Pointer(&size)), 0) // #nosec G103 -- x/sys has no getsockopt for arrays
		switch {
		case errno == 0:
			return gids[:size/4], nil
		case errno == unix.ERANGE && int(size) > len(gids)*4:
			gids = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}

// boottime is CLOCK_BOOTTIME.
func boottime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("CLOCK_BOOTTIME: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// ownProc says whether /proc shows the pid namespace that the kernel gives peer
// numbers in: there, and only there, a process has one number (NSpid in
// proc_pid_status(5)), and ours is ours.
func ownProc() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	return checkNSpid(status, syscall.Getpid())
}
