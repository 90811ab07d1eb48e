package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain puts the real programs, cam-node and camctl, on the PATH of scripts
// and of tests: they are this test binary under other names.
func TestMain(m *testing.M) {
	program := func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){"cam-node": program, "camctl": program, "burn": burn})
}
