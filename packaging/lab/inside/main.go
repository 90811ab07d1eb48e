// Command inside is the lab's program in a guest.
//
//	inside serve                 answer the lab on the virtio-serial port
//	inside counters save FILE    keep every counter that the node shows
//	inside counters check FILE   fail when one of them went back or is gone
//	inside spin                  use CPU time for ever
//
// As process 1 it is the whole of the guest whose power is cut, or with the
// argument "configure" of the one that finishes an image.
package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/cam-os/edge/packaging/lab/wire"
)

func main() {
	if os.Getpid() == 1 {
		life := powercut
		if slices.Contains(os.Args, "configure") { // after "--" on the kernel's command line
			life = configure
		}
		fmt.Printf("\n%s %v\n", wire.Failed, life())
		select {}
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve()
	case len(args) == 3 && args[0] == "counters":
		return counters(node, args[1], args[2])
	case len(args) == 1 && args[0] == "spin":
		spin()
	}
	return fmt.Errorf("usage: inside serve | counters save FILE | counters check FILE")
}
