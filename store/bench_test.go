package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// fleet is a node with so many agents on two cores, for sizes and costs: what
// each used in a second is random, and its energy follows its CPU.
type fleet struct {
	rand   *rand.Rand
	ledger Ledger
	n      int
}

var fleetZones = []Zone{{"package", 0, "rapl"}, {"core", 0, "rapl"}, {"dram", 0, "rapl"}}

func newFleet(agents int) *fleet {
	f := &fleet{rand: rand.New(rand.NewPCG(1, 2))}
	for i := range agents {
		name := fmt.Sprintf("agent-%02d", i)
		f.ledger.Accounts = append(f.ledger.Accounts, AccountState{Name: name, Agent: &AgentState{
			Cgroup: "/cam.slice/cam-" + name + ".scope", Origin: "run", Opened: second(i).Start}})
	}
	for i, name := range []string{"retired", "system", "idle", "unattributed"} {
		f.ledger.Accounts = append(f.ledger.Accounts, AccountState{Name: name, Kind: uint8(i + 1)})
	}
	for _, z := range fleetZones {
		f.ledger.Zones = append(f.ledger.Zones, ZoneState{Zone: z, Baseline: make([]byte, 40)})
	}
	return f
}

// next is one more second, with the ledger at its end.
func (f *fleet) next() (Point, Ledger) {
	p := Point{Start: time.Unix(1_800_000_000+int64(f.n), 123456), Boottime: time.Duration(f.n)*time.Second + 345678*time.Duration(f.n%7), Covered: time.Second}
	f.n++
	for i := range f.ledger.Accounts {
		a := &f.ledger.Accounts[i]
		cpu := f.rand.Uint64N(uint64(4 * time.Second / time.Duration(len(f.ledger.Accounts))))
		u := Usage{CPU: time.Duration(cpu), Switches: f.rand.Uint64N(2000), Energy: make(map[Zone]uint64)}
		if i%4 == 0 { // not everybody does I/O
			u.Read, u.Written = f.rand.Uint64N(1<<22), f.rand.Uint64N(1<<20)
		}
		for j, z := range fleetZones {
			u.Energy[z] = cpu / 100 / uint64(j+1)
			f.ledger.Zones[j].Metered += u.Energy[z]
			f.ledger.Zones[j].System += u.Energy[z]
		}
		p.Values = append(p.Values, Value{a.Name, u})
		a.Total.add(u)
		if a.Agent != nil {
			a.Agent.LastSeen = p.Start
		}
	}
	f.ledger.Sequence++
	return p, f.ledger
}

func BenchmarkAppend(b *testing.B) {
	for _, agents := range []int{5, 50} {
		b.Run(fmt.Sprint(agents), func(b *testing.B) {
			s, err := Open(Config{Dir: b.TempDir(), BootID: "boot", CommitEvery: time.Hour, noSync: true})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			f := newFleet(agents)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p, l := f.next()
				if err := s.Append(p, l); err != nil {
					b.Fatal(err)
				}
				if i%60 == 59 {
					_ = s.Commit()
				}
			}
			st := s.Stats()
			b.ReportMetric(float64(st.RingBytes), "ring-bytes")
			b.ReportMetric(float64(st.LiveBytes), "live-bytes")
			b.ReportMetric(float64(st.BytesWritten)/float64(max(st.Commits, 1)), "B/commit")
			b.ReportMetric(float64(st.FileBytes), "file-bytes")
			b.ReportMetric(float64(st.Minutes), "minutes")
		})
	}
}
