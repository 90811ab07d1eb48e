package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/cam-os/edge/bench/internal/rig"
)

// size of the footprint's part.
type size struct {
	agents, sleepers int
	window           time.Duration
	scrapeEvery      time.Duration
	scrapes          int
	// Flash: minutes of history, and commits that are counted.
	history, commits int
	fleets           []fleet
}

// fleet is a number of agents, and the bytes a day that they may cost.
type fleet struct {
	agents int
	budget int64
}

const mb = 1e6

func (b *bench) footprint(ctx context.Context) error {
	s := size{
		agents: 50, sleepers: 9, window: time.Minute, scrapeEvery: 15 * time.Second, scrapes: 200,
		history: 7*24*60 + 60, commits: 120, fleets: []fleet{{5, 64 * mb}, {50, 100 * mb}},
	}
	if b.quick {
		s.window, s.scrapes, s.scrapeEvery, s.history, s.commits = 15*time.Second, 100, 5*time.Second, 300, 60
	}
	return b.measureFootprint(ctx, s)
}

// cost is what an exporter uses.
type cost struct {
	pid       int
	url       string
	cpu       time.Duration
	resident  int64
	anonymous int64
	scrape    time.Duration // median
	slowest   time.Duration
	samples   int
}

// measureFootprint compares a node that has many agents with a peer.
func (b *bench) measureFootprint(ctx context.Context, s size) (err error) {
	sim, err := b.rig.Simulate(idleWatts, busyWatts, true, 100*time.Millisecond)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Stop()) }()
	n, err := b.rig.StartNode(ctx, sim.Sysfs)
	if err != nil {
		return err
	}
	running := true
	defer func() {
		if running {
			err = errors.Join(err, n.Stop())
		}
	}()
	var agents []*rig.Agent
	defer func() {
		for _, a := range agents {
			a.Release()
		}
		for _, a := range agents {
			_, err2 := a.Finish()
			err = errors.Join(err, err2)
		}
	}()
	for i := range s.agents {
		a, err := n.StartAgent(fmt.Sprintf("crowd-%02d", i), "crowd", strconv.Itoa(s.sleepers))
		if err != nil {
			return err
		}
		agents = append(agents, a)
	}
	costs := []*cost{{pid: n.PID, url: n.Metrics}}
	peer, err := b.rig.StartPeer(ctx)
	switch {
	case errors.Is(err, rig.ErrNoPeer):
		fmt.Fprintln(b.log, "bench: no peer:", err)
	case err != nil:
		return err
	default:
		defer peer.Stop()
		costs = append(costs, &cost{pid: peer.PID, url: peer.Metrics})
	}
	if err := b.settled(ctx, n, s.agents); err != nil {
		return err
	}
	if err := b.watch(ctx, costs, s); err != nil {
		return err
	}
	if _, err := n.Observe(ctx); err != nil {
		return err
	}
	b.footprintRows(costs, peer, s)
	running = false
	if err := n.Stop(); err != nil {
		return err
	}
	return b.flash(ctx, n.StateDir, s)
}

// settled waits until all agents are known, and the start is over.
func (b *bench) settled(ctx context.Context, n *rig.Node, agents int) error {
	for range 30 {
		o, err := n.Watch(ctx, rig.Boottime()+time.Second)
		if err != nil {
			return err
		}
		// Besides agents there are retired, system, idle and unattributed.
		if len(o.GetAccounts()) >= agents+4 {
			_, err := n.Watch(ctx, rig.Boottime()+2*time.Second)
			return err
		}
	}
	return fmt.Errorf("the node does not see all %d agents", agents)
}

// watch measures CPU time over the window, and then memory and scrapes.
func (b *bench) watch(ctx context.Context, costs []*cost, s size) (err error) {
	for _, c := range costs {
		if c.cpu, err = rig.CPUTime(c.pid); err != nil {
			return err
		}
	}
	started := time.Now()
	for time.Since(started) < s.window {
		for _, c := range costs {
			if _, err := b.scrape(ctx, c); err != nil {
				return err
			}
		}
		if err := sleep(ctx, min(s.scrapeEvery, s.window-time.Since(started))); err != nil {
			return err
		}
	}
	elapsed := time.Since(started)
	for _, c := range costs {
		now, err := rig.CPUTime(c.pid)
		if err != nil {
			return err
		}
		// Per second, so that windows can be compared.
		c.cpu = time.Duration(float64(now-c.cpu) / elapsed.Seconds())
	}
	took := make([][]time.Duration, len(costs))
	for range s.scrapes {
		for i, c := range costs { // by turns: what disturbs one disturbs both
			d, err := b.scrape(ctx, c)
			if err != nil {
				return err
			}
			took[i] = append(took[i], d)
			c.slowest = max(c.slowest, d)
		}
	}
	for i, c := range costs {
		c.scrape = median(took[i])
		if c.resident, c.anonymous, err = rig.Memory(c.pid); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) scrape(ctx context.Context, c *cost) (time.Duration, error) {
	d, text, err := rig.Scrape(ctx, c.url)
	if err != nil {
		return 0, err
	}
	c.samples = rig.Samples(text)
	return d, b.rig.Residual.Metrics(text)
}

func (b *bench) footprintRows(costs []*cost, peer *rig.Peer, s size) {
	own := costs[0]
	var memory, cpu, scrape string
	if peer != nil {
		p := costs[1]
		name := "node_exporter " + peer.Version
		memory = fmt.Sprintf("%s: %.1f MB, %.1f MB; %.2f times", name, float64(p.resident)/mb, float64(p.anonymous)/mb, float64(own.resident)/float64(p.resident))
		cpu = fmt.Sprintf("%s: %.2f %%, %.2f times; a scrape each %v; the node takes a sample each second", name, percentOfCore(p.cpu), float64(own.cpu)/float64(p.cpu), s.scrapeEvery)
		scrape = fmt.Sprintf("%s: %s, slowest %s, %d samples; %.2f times; node's slowest %s, %d samples", name,
			milliseconds(p.scrape), milliseconds(p.slowest), p.samples, float64(own.scrape)/float64(p.scrape), milliseconds(own.slowest), own.samples)
	} else {
		memory, cpu, scrape = "no peer", "no peer", "no peer"
	}
	what := fmt.Sprintf("%d processes in %d agents: ", s.agents*(s.sleepers+1), s.agents)
	b.add(row{What: what + "node's RSS, and RssAnon", Measured: fmt.Sprintf("%.1f MB, %.1f MB", float64(own.resident)/mb, float64(own.anonymous)/mb),
		Target: "≤ 40 MB", Met: verdict(own.resident <= 40*mb), Against: memory})
	b.add(row{What: what + fmt.Sprintf("node's CPU of one core over %v", s.window), Measured: fmt.Sprintf("%.2f %%", percentOfCore(own.cpu)),
		Target: "≤ 0.5 %", Met: verdict(percentOfCore(own.cpu) <= 0.5), Against: cpu})
	b.add(row{What: what + fmt.Sprintf("scrape, p50 of %d", s.scrapes), Measured: milliseconds(own.scrape),
		Target: "≤ 7 ms", Met: verdict(own.scrape <= 7*time.Millisecond), Against: scrape})
}

func percentOfCore(perSecond time.Duration) float64 { return 100 * perSecond.Seconds() }

// flash replays what a node stored on a device of its own.
func (b *bench) flash(ctx context.Context, stateDir string, s size) error {
	for _, f := range s.fleets {
		dir, err := os.MkdirTemp(b.rig.Memory(), "flash-")
		if err != nil {
			return err
		}
		c := exec.CommandContext(ctx, b.rig.Program("replay"), stateDir, strconv.Itoa(f.agents), "crowd-", dir, // #nosec G204 -- our own program
			strconv.Itoa(s.history), strconv.Itoa(s.commits))
		// Mounts of its own, which end with it.
		c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		out, err := c.Output()
		if removed := os.RemoveAll(dir); err == nil {
			err = removed
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		what := fmt.Sprintf("Flash a day at defaults with %d agents, as bytes to the device", f.agents)
		var sent struct {
			Commits int   `json:"commits"`
			Device  int64 `json:"device_bytes"`
			Process int64 `json:"process_bytes"`
			Zones   int   `json:"zones"`
		}
		if err == nil {
			err = json.Unmarshal(out, &sent)
		}
		if err != nil {
			b.add(row{What: what, Measured: "not measured", Met: missed, Against: err.Error()})
			continue
		}
		const commitsADay = 24 * 60
		day := sent.Device * commitsADay
		b.add(row{What: what, Measured: fmt.Sprintf("%.1f MB", float64(day)/mb), Target: fmt.Sprintf("≤ %d MB", f.budget/mb), Met: verdict(day <= f.budget),
			Against: fmt.Sprintf("%.1f kB a commit over %d commits on ext4 with %d zones; write_bytes of /proc/PID/io, which counts whole folios, says %.1f kB",
				float64(sent.Device)/1e3, sent.Commits, sent.Zones, float64(sent.Process)/1e3)})
	}
	return nil
}
