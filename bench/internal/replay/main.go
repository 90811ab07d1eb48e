// Command replay counts what the store's commits send to a device: it replays
// what a node stored.
//
// The device is a loop device of its own in a mount name space of its own, so
// that its statistics hold the file system's journal and metadata and nothing
// of other programs. The bench makes the name space:
//
//	replay STATE-DIR AGENTS PREFIX WORK-DIR BEFORE COMMITS
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

func main() {
	if err := replayed(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func replayed(args []string) error {
	if len(args) != 6 {
		return errors.New("want STATE-DIR AGENTS PREFIX WORK-DIR BEFORE COMMITS")
	}
	var numbers []int
	for _, i := range []int{1, 4, 5} {
		n, err := strconv.Atoi(args[i])
		if err != nil {
			return err
		}
		numbers = append(numbers, n)
	}
	c, err := contentOf(args[0], numbers[0], func(name string) bool { return strings.HasPrefix(name, args[2]) })
	if err != nil {
		return err
	}
	sent, err := measure(c, args[3], numbers[1], numbers[2])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(sent)
}
