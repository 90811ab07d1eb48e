package container

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// passwd is what passwd(5) says of users.
type passwd struct {
	home map[uint32]string
	uid  map[string]uint32
	err  error
}

// UID returns the number of a user, given as a number or by a name of
// /etc/passwd.
func (n *Names) UID(user string) (uint32, error) {
	if uid, err := strconv.ParseUint(user, 10, 32); err == nil {
		return uint32(uid), nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.readUsers()
	if uid, ok := p.uid[user]; ok {
		return uid, nil
	}
	return 0, errors.Join(fmt.Errorf("/etc/passwd has no user %q; give the uid", user), p.err)
}

// home is the home directory of a user, below the root.
func (n *Names) home(uid uint32) (string, error) {
	p := n.readUsers()
	if home, ok := p.home[uid]; ok {
		return filepath.Join(n.root, home), nil
	}
	return "", errors.Join(fmt.Errorf("/etc/passwd has no home directory for uid %d, where its containers' names are", uid), p.err)
}

func (n *Names) readUsers() *passwd {
	if n.users != nil {
		return n.users
	}
	p := &passwd{home: make(map[uint32]string), uid: make(map[string]uint32)}
	n.users = p
	var data []byte
	data, p.err = read(filepath.Join(n.root, "etc"), "passwd", mostOfOne)
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 7 {
			continue
		}
		uid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		// The first line of a user counts, as it does for getpwnam(3).
		if _, ok := p.uid[f[0]]; !ok {
			p.uid[f[0]] = uint32(uid)
		}
		if _, ok := p.home[uint32(uid)]; !ok && filepath.IsAbs(f[5]) {
			p.home[uint32(uid)] = f[5]
		}
	}
	return p
}
