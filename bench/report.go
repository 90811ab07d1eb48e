package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// met says whether a target was met.
type met string

const (
	noTarget met = ""
	reached  met = "yes"
	missed   met = "NO"
)

func verdict(ok bool) met {
	if ok {
		return reached
	}
	return missed
}

// row is one figure, with what it is to be compared with in the same run.
type row struct {
	What, Measured, Target string
	Met                    met
	Against                string
}

// machine that a result is of: nothing that names it.
type machine struct {
	Date, CPU, Kernel string
	Cores             int
	Load              string
}

func thisMachine(now time.Time) machine {
	m := machine{Date: now.UTC().Format("2006-01-02 15:04 UTC"), CPU: "unknown CPU", Kernel: "unknown", Cores: runtime.NumCPU(), Load: "unknown"}
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = cpuModel(data)
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		// The first number of the release, without a builder's suffix.
		m.Kernel, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(data), " ")
	}
	return m
}

func cpuModel(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		if k, v, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(k)) == "model name" {
			return string(bytes.TrimSpace(v))
		}
	}
	return runtime.GOARCH + " CPU" // arm64 names none here
}

func writeText(w io.Writer, rows []row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tMEASURED\tTARGET\tMET\tAGAINST, IN THE SAME RUN")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.What, r.Measured, r.Target, r.Met, r.Against)
	}
	return t.Flush()
}

func writeMarkdown(w io.Writer, m machine, quick bool, rows []row) error {
	var b strings.Builder
	command := "make bench"
	if quick {
		command = "bench/run.sh -quick"
	}
	fmt.Fprintf(&b, `# What the node costs, and how true its figures are

Written by `+"`"+command+"`"+`. A shared or virtual machine is noisy: use the ratios, and compare within one run.

- Date: %s
- CPU: %s, %d cores
- Kernel: %s
- Load average before the run: %s

| what | measured | target | met | against, in the same run |
|---|---|---|---|---|
`, m.Date, m.CPU, m.Cores, m.Kernel, m.Load)
	for _, r := range rows {
		cells := []string{r.What, r.Measured, r.Target, string(r.Met), r.Against}
		for i, c := range cells {
			cells[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(c)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	b.WriteString(notes)
	_, err := io.WriteString(w, b.String())
	return err
}

const notes = `
## How to read it

- **Share of energy − share of CPU time**: two agents that ` + "`camctl run`" + ` started on a power simulator, where every busy CPU draws the same. One burns all the time; the other runs processes that burn for the burst's length each, one after another, fork and exec included. The truth is what getrusage(2) says of each (with children), and what the simulator drew for each cgroup, which it measures apart from the node's sensor. Kepler's figures (v0.11, the same load on another machine) are published ones, not of this run.
- **CPU of one core** is from the process's own CPU-time clock, over a window with a scrape each 15 s; the peer lives in the same window.
- **Flash** is what a loop device of its own was sent, journal and metadata of ext4 included, at the store's defaults and with a full week in it: minutes are replayed that are like the one that the node of the footprint stored. A day has 1,440 commits.
- **ns above an empty program** needs the kernel's bpf statistics, which cost both programs the same and are off again afterwards.
`
