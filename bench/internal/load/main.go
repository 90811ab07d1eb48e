// Command load is what the bench makes agents do. It is a program of its own
// so that it starts fast: a burst of 2 ms should be mostly burst.
//
// Each load ends when its input does, so that none outlives the bench, however
// that ends.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}
