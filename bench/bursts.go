package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cam-os/edge/bench/internal/rig"
)

// The simulated machine: power at idle, and for each busy CPU whoever keeps it
// busy. With one price for all, what by time is right is right in joules too.
const (
	idleWatts = 5
	busyWatts = 10
)

// agentUse is what one agent used in a run of bursts.
type agentUse struct {
	CPU    time.Duration // rusage
	Node   float64       // joules that the node charged
	True   float64       // joules that the simulator drew
	Bursts int
}

// bursts is one run: a long burner beside serial short ones.
type bursts struct {
	Burst       time.Duration
	Long, Short agentUse
}

// truth and charged are the long burner's part of both, in percent: by what
// rusage says of the time, and by what the node says of the energy.
func (b bursts) truth() float64 {
	return percent(float64(b.Long.CPU), float64(b.Short.CPU))
}

func (b bursts) charged() float64 { return percent(b.Long.Node, b.Short.Node) }

// points between them.
func (b bursts) points() float64 { return max(b.charged()-b.truth(), b.truth()-b.charged()) }

func percent(a, b float64) float64 {
	if a+b == 0 {
		return 0
	}
	return 100 * a / (a + b)
}

// runBursts runs the two agents side by side for d, or for as long as one
// burst takes.
func runBursts(ctx context.Context, r *rig.Rig, n *rig.Node, sim *rig.Simulation, burst, d time.Duration) (_ bursts, err error) {
	b := bursts{Burst: burst}
	long, short := "long-"+burst.String(), "short-"+burst.String()
	burner, err := n.StartAgent(long, "burn")
	if err != nil {
		return b, err
	}
	serial, err := n.StartAgent(short, "serial", burst.String())
	if err != nil {
		_, err2 := burner.Finish()
		return b, errors.Join(err, err2)
	}
	wait := sleep(ctx, d)
	// The serial one first: it ends with its burst.
	shortText, err1 := serial.Finish()
	longText, err2 := burner.Finish()
	if err := errors.Join(wait, err1, err2); err != nil {
		return b, err
	}
	for _, u := range []struct {
		use  *agentUse
		text []byte
	}{{&b.Long, longText}, {&b.Short, shortText}} {
		var report struct {
			CPU    time.Duration `json:"cpu_nanoseconds"`
			Bursts int           `json:"bursts"`
		}
		if err := json.Unmarshal(u.text, &report); err != nil {
			return b, fmt.Errorf("an agent said %q: %w", u.text, err)
		}
		u.use.CPU, u.use.Bursts = report.CPU, report.Bursts
	}
	// Until the simulator has drawn the last of it and the node has read that.
	o, err := n.Watch(ctx, rig.Boottime()+1500*time.Millisecond)
	if err != nil {
		return b, err
	}
	for name, use := range map[string]*agentUse{long: &b.Long, short: &b.Short} {
		use.True = sim.Active(r.Cgroup(name))
		for _, a := range o.GetAccounts() {
			if a.GetName() != name {
				continue
			}
			for _, e := range a.GetTotal().GetEnergy() {
				if e.GetZone() == "package" {
					use.Node += float64(e.GetMicrojoules()) / 1e6
				}
			}
		}
	}
	return b, nil
}

// published is what Kepler v0.11 was found to do with the same load, in
// points.
var published = map[time.Duration]string{20 * time.Second: "0.2", time.Second: "27", 50 * time.Millisecond: "56"}

func (b *bench) bursts(ctx context.Context) (err error) {
	sim, err := b.rig.Simulate(idleWatts, busyWatts, false, 20*time.Millisecond)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Stop()) }()
	n, err := b.rig.StartNode(ctx, sim.Sysfs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Stop()) }()

	// Until the node knows the power at idle: it learns it from quiet
	// intervals and busy ones.
	quiet, busy := 8*time.Second, 7*time.Second
	lengths := []time.Duration{20 * time.Second, time.Second, 50 * time.Millisecond, 2 * time.Millisecond}
	run := 10 * time.Second
	if b.quick {
		lengths, run, quiet, busy = lengths[1:], 6*time.Second, 6*time.Second, 6*time.Second
	}
	if err := sleep(ctx, quiet); err != nil {
		return err
	}
	if _, err := runBursts(ctx, b.rig, n, sim, 100*time.Millisecond, busy); err != nil {
		return err
	}
	for _, burst := range lengths {
		u, err := runBursts(ctx, b.rig, n, sim, burst, run)
		if err != nil {
			return err
		}
		kepler := published[burst]
		if kepler == "" {
			kepler = "not published"
		} else {
			kepler += " points (published)"
		}
		b.add(row{
			What:     fmt.Sprintf("Share of energy − share of CPU time, bursts of %v (%d) beside one long burner", burst, u.Short.Bursts),
			Measured: fmt.Sprintf("%.2f points", u.points()), Target: "≤ 2 points", Met: verdict(u.points() <= 2),
			Against: fmt.Sprintf("long/short: rusage %.2f/%.2f %%, node %.2f/%.2f %%; node's joules ÷ true joules %.3f/%.3f; Kepler %s",
				u.truth(), 100-u.truth(), u.charged(), 100-u.charged(), u.Long.Node/u.Long.True, u.Short.Node/u.Short.True, kepler),
		})
	}
	o, err := n.Observe(ctx)
	if err != nil {
		return err
	}
	for _, z := range o.GetZones() {
		r := row{
			What: "Power at idle that the node has learned, after the bursts", Measured: fmt.Sprintf("%.2f W", float64(z.GetIdleMicrowatts())/1e6),
			Against: fmt.Sprintf("the simulator's %d W", idleWatts),
		}
		if z.GetIdleMicrowatts() == 0 {
			r.Measured = "not learned"
			r.Against += "; other programs kept the machine busy all the time, so that idle energy went to whoever ran, and joules are above the truth"
		}
		b.add(r)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
