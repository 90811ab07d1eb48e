package peer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
	"time"
)

// stat is a /proc/PID/stat with a command of one's choice.
func stat(comm, state, start string) string {
	return "123 (" + comm + ") " + state + " 1 123 123 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 " + start + " 1000 200 18446744073709551615 0 0\n"
}

func TestStartTime(t *testing.T) {
	for _, comm := range []string{"sh", "a b", "a) S 1 (b", "((((", "))))", "x\ny", "", " R 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1"} {
		state, got, err := startTime([]byte(stat(comm, "S", "98765")))
		if err != nil || got != 987650*time.Millisecond || state != 'S' {
			t.Errorf("%q: %c, %v, %v", comm, state, got, err)
		}
	}
	for _, bad := range []string{
		"", "123 (sh", "123 (sh) S", stat("sh", "S", "-1"), stat("sh", "S", "x"), stat("sh", "S", ""), stat("sh", "SS", "1"),
		stat("sh", "S", "9223372036854775807"), stat("sh", "S", "99999999999999999999"), stat("sh", "S", "")[:40],
	} {
		if _, got, err := startTime([]byte(bad)); err == nil && bad != stat("sh", "S", "") {
			t.Errorf("%q: %v", bad, got)
		}
	}
	own, err := os.ReadFile("/proc/self/stat")
	must(t, err)
	state, got, err := startTime(own)
	now, _ := boottime()
	if err != nil || got > now || now-got > time.Hour || !strings.ContainsRune("RSD", rune(state)) {
		t.Errorf("own: %c, %v at %v, %v", state, got, now, err)
	}
}

func TestCgroupPath(t *testing.T) {
	const hybrid = "9:name=systemd:/x\n1:cpu,cpuacct:/y\n"
	for file, want := range map[string]string{
		"0::/\n":                                  "/",
		"0::/cam.slice/a\n":                       "/cam.slice/a",
		hybrid + "0::/cam.slice/a\n":              "/cam.slice/a",
		"0::/a:b::c\n":                            "/a:b::c",
		"0::/a/..b/b..\n":                         "/a/..b/b..",
		"0::/a (deleted)/b\n":                     "/a (deleted)/b",
		"0::/a (deleted)x\n":                      "/a (deleted)x",
		"10::/no\n0::/yes\n":                      "/yes",
		"1:name=0:/no\n0::/ leading and inner \n": "/ leading and inner ",
	} {
		if got, err := cgroupPath([]byte(file)); got != want || err != nil {
			t.Errorf("%q: %q, %v", file, got, err)
		}
	}
	for _, file := range []string{
		"", "\n", "0::", "0::\n", "0::/a", "0::a\n", hybrid, "0::/a\n0::/b\n", "0::/a (deleted)\n", "0::/ (deleted)\n",
		"0::/..\n", "0::/../a\n", "0::/a/../b\n", "0::/a//b\n", "0::/a/\n", "0::/a/.\n", "0::/./a\n", "0::/a\x00b\n", " 0::/a\n",
		"0:name=x:/a\n",
	} {
		if got, err := cgroupPath([]byte(file)); err == nil {
			t.Errorf("%q: %q", file, got)
		}
	}
	if _, err := cgroupPath([]byte("0::/../other\n")); !errors.Is(err, errForeign) {
		t.Errorf("outside of the namespace: %v", err)
	}
}

func TestNSpid(t *testing.T) {
	for status, ok := range map[string]bool{
		"Name:\tx\nNSpid:\t7\n":    true,
		"Name:\tx\nNSpid:\t7\t1\n": false,
		"Name:\tx\nNSpid:\t8\n":    false,
		"Name:\tx\n":               false,
		"NSpid:\n":                 false,
	} {
		if err := checkNSpid([]byte(status), 7); (err == nil) != ok {
			t.Errorf("%q: %v", status, err)
		}
	}
}

// Whatever a process calls itself, its start time stays what it is.
func FuzzStartTime(f *testing.F) {
	for _, s := range []string{"sh", "a b", ") S 1 1 (", "\n", "0::/"} {
		f.Add(s, uint32(12345))
	}
	f.Fuzz(func(t *testing.T, comm string, ticks uint32) {
		_, got, err := startTime([]byte(stat(comm, "R", fmt.Sprint(ticks))))
		if err != nil || got != time.Duration(ticks)*tick {
			t.Errorf("%q: %v, %v", comm, got, err)
		}
		// And garbage is no panic.
		if _, got, err := startTime([]byte(comm)); err == nil && got < 0 {
			t.Errorf("%q: %v", comm, got)
		}
	})
}

// What is accepted is one clean line of the file.
func FuzzCgroupPath(f *testing.F) {
	for _, s := range []string{"0::/\n", "1:cpu:/\n0::/a/b\n", "0::/a (deleted)\n", "0::/../x\n", "0::/a\n0::/b\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := cgroupPath(file)
		if err != nil {
			return
		}
		line := []byte("0::" + got + "\n")
		if !bytes.HasPrefix(file, line) && !bytes.Contains(file, append([]byte("\n"), line...)) {
			t.Errorf("%q: %q is no line of it", file, got)
		}
		if got[0] != '/' || path.Clean(got) != got || strings.Contains(got, "/../") || strings.HasSuffix(got, "(deleted)") && strings.HasSuffix(got, " (deleted)") {
			t.Errorf("%q: %q", file, got)
		}
	})
}
