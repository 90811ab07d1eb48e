package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// Column is one figure of every account.
type Column struct {
	Title string
	// Cells is how wide it is in a terminal interface.
	Cells int
	// Rank says which column gets room first; 0 always.
	Rank int
	// Sort is the key that sorts by this column.
	Sort   SortKey
	Figure func(Row) string
}

// View is what `camctl top` shows at a time.
type View struct {
	Name, Title string
	// Key switches to it.
	Key     string
	Columns []Column
	// Sorts are the keys to sort by, the usual one first.
	Sorts []SortKey
	// Curve is the figure that is drawn over time; NaN where there is none.
	// CurveAt is before which column, CurveRank as a column's.
	Curve              func(Row) float64
	CurveTitle         string
	CurveAt, CurveRank int
	// Scale writes a value of the curve.
	Scale func(float64) string
	// Shows says which accounts besides agents have these figures.
	Shows func(kind string) bool
	// Measured says that the node has these figures; Lack is what to say if not.
	Measured func(Measured) bool
	Lack     string
}

func column(title string, cells, rank int, sort SortKey, value func(Row) float64, write func(float64) string) Column {
	return Column{title, cells, rank, sort, func(r Row) string { return write(value(r)) }}
}

// Views are all of them, the usual one first.
func Views() []View {
	all := func(string) bool { return true }
	none := func(string) bool { return false }
	return []View{
		{
			Name: "cpu", Key: "c", Title: "CPU and energy", Sorts: []SortKey{ByWatts, ByCPU, ByIO, ByName}, Shows: all,
			Columns: []Column{
				{"CPU", 5, 1, ByCPU, Row.CPU},
				{"READ/S", 7, 4, ByIO, func(r Row) string { return strings.TrimSuffix(r.Reads(), "/s") }},
				{"WRITE/S", 7, 5, ByIO, func(r Row) string { return strings.TrimSuffix(r.Writes(), "/s") }},
				{"WATTS", 7, 0, ByWatts, Row.Watts}, {"JOULES", 7, 2, "", Row.Joules},
			},
			CurveTitle: "WATTS OVER TIME", CurveAt: 4, CurveRank: 3, // the zone's watts: the curve is the reader's
			Measured: func(Measured) bool { return true },
		},
		{
			Name: "io", Key: "i", Title: "I/O", Sorts: []SortKey{ByDisk, ByIO, ByLatency, ByName},
			Shows: func(kind string) bool { return kind != Idle },
			Columns: []Column{
				{"READ/S", 7, 1, ByIO, func(r Row) string { return strings.TrimSuffix(r.Reads(), "/s") }},
				{"WRITE/S", 7, 1, ByIO, func(r Row) string { return strings.TrimSuffix(r.Writes(), "/s") }},
				column("DISK-RD", 7, 0, ByDisk, func(r Row) float64 { return r.Disk("read") }, perSecond),
				column("DISK-WR", 7, 0, ByDisk, func(r Row) float64 { return r.Disk("write") }, perSecond),
				column("P99", 6, 2, ByLatency, Row.diskLatency, boundText),
				column("OPS/S", 6, 4, "", Row.diskOperations, countText),
				column("STALL", 5, 5, "", func(r Row) float64 { return r.stall(ioStall) }, percentText),
			},
			Curve: diskRate, CurveTitle: "DISK OVER TIME", CurveAt: 4, CurveRank: 3, Scale: text.ByteRate,
			Measured: func(m Measured) bool { return m.Block || m.IO }, Lack: "I/O is not measured",
		},
		{
			Name: "memory", Key: "m", Title: "memory", Sorts: []SortKey{ByMemory, ByName}, Shows: none,
			Columns: []Column{
				column("WORKING", 7, 0, ByMemory, func(r Row) float64 { return r.held(workingSet) }, bytesText),
				column("USED", 7, 1, "", func(r Row) float64 { return r.held(func(m Memory) uint64 { return m.CurrentBytes }) }, bytesText),
				column("LIMIT", 7, 2, "", func(r Row) float64 { return r.held(func(m Memory) uint64 { return m.LimitBytes }) }, limitText),
				column("OOM", 4, 3, "", Row.oomKills, countText),
				column("STALL", 5, 4, "", func(r Row) float64 { return r.stall(memoryStall) }, percentText),
				column("SWAP", 7, 6, "", func(r Row) float64 { return r.held(func(m Memory) uint64 { return m.SwapBytes }) }, bytesText),
				column("RECL/S", 7, 7, "", Row.reclaimed, perSecond),
			},
			Curve: func(r Row) float64 { return r.held(workingSet) }, CurveTitle: "WORKING SET OVER TIME", CurveAt: 1, CurveRank: 5,
			Scale:    func(v float64) string { return text.Bytes(uint64(v)) },
			Measured: func(m Measured) bool { return m.Controllers }, Lack: "memory is not measured",
		},
		{
			Name: "waits", Key: "w", Title: "waits", Sorts: []SortKey{ByWait, ByThrottled, ByName},
			Shows: func(kind string) bool { return kind == System },
			Columns: []Column{
				column("P50", 6, 1, "", func(r Row) float64 { return r.wait(p50) }, boundText),
				column("P99", 6, 0, ByWait, func(r Row) float64 { return r.wait(p99) }, boundText),
				column("THROTTLED", 9, 2, ByThrottled, Row.Throttled, percentText),
				column("CPU", 5, 3, "", func(r Row) float64 { return r.stall(cpuStall) }, percentText),
				column("I/O", 5, 4, "", func(r Row) float64 { return r.stall(ioStall) }, percentText),
				column("MEMORY", 6, 5, "", func(r Row) float64 { return r.stall(memoryStall) }, percentText),
			},
			Curve: Row.Waiting, CurveTitle: "TASKS WAITING FOR A CPU", CurveAt: 2, CurveRank: 6, Scale: countText,
			Measured: func(m Measured) bool { return m.RunQueue || m.Controllers }, Lack: "waits are not measured",
		},
		{
			Name: "network", Key: "n", Title: "network", Sorts: []SortKey{ByNetwork, ByName}, Shows: none,
			Columns: []Column{
				column("RECV/S", 7, 0, ByNetwork, func(r Row) float64 { return r.traffic(received) }, perSecond),
				column("SENT/S", 7, 0, ByNetwork, func(r Row) float64 { return r.traffic(sent) }, perSecond),
				column("REFUSED", 7, 1, "", Row.refused, countText),
				column("PKT-IN/S", 8, 3, "", func(r Row) float64 { return r.traffic(func(n Network) uint64 { return n.ReceivedPackets }) }, countText),
				column("PKT-OUT/S", 9, 4, "", func(r Row) float64 { return r.traffic(func(n Network) uint64 { return n.SentPackets }) }, countText),
			},
			Curve: trafficRate, CurveTitle: "TRAFFIC OVER TIME", CurveAt: 2, CurveRank: 2, Scale: text.ByteRate,
			Measured: func(m Measured) bool { return m.Network }, Lack: "the network is not measured",
		},
	}
}

func diskRate(r Row) float64 { return r.Disk("read") + r.Disk("write") }

func trafficRate(r Row) float64 { return r.traffic(received) + r.traffic(sent) }

// ViewNames lists them.
func ViewNames() []string {
	var names []string
	for _, v := range Views() {
		names = append(names, v.Name)
	}
	return names
}

// ViewNamed finds a view.
func ViewNamed(name string) (View, error) {
	for _, v := range Views() {
		if v.Name == name {
			return v, nil
		}
	}
	return View{}, fmt.Errorf("there is no view %q: choose one of %s", text.Clean(name), strings.Join(ViewNames(), ", "))
}

// Cells are a row's figures in v. What an account cannot have is blank; one
// that has ended or is empty says so in the first.
func (v View) Cells(r Row) []string {
	cells := make([]string, len(v.Columns))
	for i, c := range v.Columns {
		energyOnly := r.Kind == Idle || r.Kind == Unattributed && r.Cores == 0 && v.Name == "cpu"
		if !energyOnly || c.Title == "WATTS" || c.Title == "JOULES" {
			cells[i] = c.Figure(r)
		}
	}
	if r.State == "ended" || r.State == "empty" {
		cells[0] = r.State
	}
	return cells
}

// WriteView writes a table of v; that of CPU and energy is WriteAccounts.
func WriteView(w io.Writer, o Observation, zone string, v View, s Style) error {
	if v.Name == "cpu" {
		return WriteAccounts(w, o, zone, s)
	}
	agents, others := Split(Rows(o, zone))
	others = slices.DeleteFunc(others, func(r Row) bool { return !v.Shows(r.Kind) || r.Kind == Retired && r.Blank() })
	t := text.Table{Columns: []text.Column{{Title: "NAME"}}}
	for _, c := range v.Columns {
		t.Columns = append(t.Columns, text.Column{Title: c.Title, Right: true, Drop: c.Rank})
	}
	for _, r := range append(agents, others...) {
		t.Add(append([]string{text.Clean(r.Name)}, v.Cells(r)...)...)
	}
	if err := t.Write(w, s.Width); err != nil {
		return err
	}
	switch {
	case len(agents) == 0:
		_, err := io.WriteString(w, "\nno agents yet: `camctl run --name NAME -- COMMAND` starts one\n")
		return err
	case !v.Measured(o.Measured):
		_, err := io.WriteString(w, "\n"+v.Lack+": camctl doctor says why\n")
		return err
	}
	return nil
}

// sortValues are what the keys sort by, the largest first.
var sortValues = map[SortKey]func(Row) float64{
	ByWatts: func(r Row) float64 { return r.Microwatts }, ByCPU: func(r Row) float64 { return r.Cores },
	ByIO: func(r Row) float64 { return r.ReadRate + r.WriteRate }, ByDisk: diskRate, ByLatency: Row.diskLatency,
	ByMemory: func(r Row) float64 { return r.held(workingSet) }, ByWait: func(r Row) float64 { return r.wait(p99) },
	ByThrottled: Row.Throttled, ByNetwork: trafficRate,
}

// Sort orders rows, the largest first, what is not measured last, and by name
// what is equal.
func Sort(rows []Row, by SortKey) {
	value := sortValues[by]
	slices.SortStableFunc(rows, func(a, b Row) int {
		c := 0
		if value != nil {
			x, y := value(a), value(b)
			if math.IsNaN(x) {
				x = math.Inf(-1)
			}
			if math.IsNaN(y) {
				y = math.Inf(-1)
			}
			c = cmp.Compare(y, x)
		}
		return cmp.Or(c, cmp.Compare(a.Name, b.Name))
	})
}
