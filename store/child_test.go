package store

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Tests that need a process of their own run this binary again, with the name
// of one of these and its arguments in the environment.
var children = map[string]func(args []string) error{
	"appends":  childAppends,
	"flash":    childFlash,
	"full":     childFull,
	"holds":    childHolds,
	"readonly": childReadOnly,
	"stranger": childStranger,
}

const childVariable = "CAM_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	words := strings.Fields(os.Getenv(childVariable))
	if len(words) == 0 {
		os.Exit(m.Run())
	}
	if err := children[words[0]](words[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child prepares this binary as one of children, behind prefix.
func child(prefix []string, words ...string) *exec.Cmd {
	argv := append(prefix, os.Args[0])
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), childVariable+"="+strings.Join(words, " "))
	cmd.Stderr = os.Stderr
	return cmd
}

// ownMounts is a prefix that gives a child its own mount namespace. It skips
// the test where that is refused, having tried.
func ownMounts(t *testing.T) []string {
	t.Helper()
	prefix := []string{"unshare", "--mount", "--propagation", "private"}
	out, err := exec.Command(prefix[0], append(prefix[1:], "true")...).CombinedOutput()
	if err != nil {
		t.Skipf("no mount namespace here: %v: %s", err, out)
	}
	return prefix
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
