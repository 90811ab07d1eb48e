package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cam-os/edge/store"
)

var zone = store.Zone{Name: "package", Source: "simulated"}

// stored makes what a node with agents leaves behind.
func stored(t *testing.T, agents int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := store.Open(store.Config{Dir: dir, LiveDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	u := store.Usage{CPU: time.Second, Switches: 10, Written: 1000, Energy: map[store.Zone]uint64{zone: 10_000_000}}
	p := store.Point{Start: time.Now().Add(-time.Minute), Covered: time.Minute, Values: []store.Value{{Account: "system", Usage: u}}}
	l := store.Ledger{Accounts: []store.AccountState{{Name: "system", Total: u}}, Zones: []store.ZoneState{{Zone: zone, Metered: 1}}}
	for i := range agents {
		name := fmt.Sprintf("crowd-%d", i)
		p.Values = append(p.Values, store.Value{Account: name, Usage: u})
		l.Accounts = append(l.Accounts, store.AccountState{Name: name, Total: u, Agent: &store.AgentState{Cgroup: "/" + name}})
	}
	if err := s.Append(p, l); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func isAgent(name string) bool { return strings.HasPrefix(name, "crowd-") }

func TestReplayedMinutesAreLikeTheStoredOne(t *testing.T) {
	dir := stored(t, 3)
	if _, err := contentOf(dir, 4, isAgent); err == nil {
		t.Error("finds agents that were not stored")
	}
	c, err := contentOf(dir, 2, isAgent)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Ledger.Accounts) != 3 || len(c.Minute) != 3 {
		t.Fatalf("%d accounts, %d values of system and two agents", len(c.Ledger.Accounts), len(c.Minute))
	}
	s, err := store.Open(store.Config{Dir: t.TempDir(), LiveDir: t.TempDir(), CommitEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := replay{content: c, store: s, rand: rand.New(rand.NewPCG(1, 2))}
	const minutes = 5
	for range minutes {
		if err := r.minute(); err != nil {
			t.Fatal(err)
		}
	}
	points, _, err := s.Series(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	var cpu time.Duration
	values := 0
	for _, p := range points {
		for _, v := range p.Values {
			cpu += v.Usage.CPU
			values++
		}
	}
	if values < 3*minutes || cpu < 3*minutes*800*time.Millisecond || cpu > 3*minutes*1200*time.Millisecond {
		t.Errorf("%d values with %v of CPU time in %d minutes", values, cpu, minutes)
	}
	kept, err := s.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range kept.Accounts {
		if a.Total.CPU < (1+minutes*8/10)*time.Second || a.Total.Energy[zone] < 10_000_000*(1+minutes*8/10) {
			t.Errorf("%s: %+v", a.Name, a.Total)
		}
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	for _, args := range []string{"", "a b c d e f", "a 1 c d 1 f"} {
		if err := replayed(strings.Fields(args)); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
