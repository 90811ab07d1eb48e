// Command shell boots a device of the lab and runs what it reads, a line at a
// time, as root inside.
//
//	go run ./packaging/lab/shell [-suite bookworm] [-arch amd64] [NAME=FILE...]
//
// The files are at /lab.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/cam-os/edge/packaging/lab/machine"
)

func main() {
	suite, arch := flag.String("suite", "bookworm", "Debian's suite"), flag.String("arch", "amd64", "amd64 or arm64")
	flag.Parse()
	if err := run(*suite, *arch, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "shell:", err)
		os.Exit(1)
	}
}

func run(suite, arch string, pairs []string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	files := make(map[string]string)
	for _, p := range pairs {
		name, file, ok := strings.Cut(p, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=FILE", p)
		}
		files[name] = file
	}
	img, err := machine.Build(suite, arch, os.Stderr)
	if err != nil {
		return err
	}
	d, err := machine.Boot(ctx, img, files, 9465, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	fmt.Fprintf(os.Stderr, "port 9465 of the device is http://%s\n", d.Address)
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			lines <- in.Text()
		}
	}()
	for {
		var line string
		select {
		case <-ctx.Done():
			return nil
		case l, more := <-lines:
			if !more {
				return nil
			}
			line = l
		}
		started := time.Now()
		r, err := d.Run(ctx, line, nil, 10*time.Minute)
		if err != nil {
			return err
		}
		fmt.Printf("%s%s[%d after %v]\n", r.Stdout, r.Stderr, r.Code, time.Since(started).Round(10*time.Millisecond))
	}
}
