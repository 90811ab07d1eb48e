package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cam-os/edge/cmd/cam-node/internal/text"
)

// WritePage writes one agent as one page.
func WritePage(w io.Writer, p Page, zone string, s Style) error {
	var b strings.Builder
	o := Observation{IntervalNanoseconds: p.IntervalNanoseconds, Accounts: []Account{p.Agent}, Zones: p.Zones, Measured: p.Measured}
	r := Rows(o, zone)[0]
	b.WriteString(strings.TrimRight(text.Clean(p.Agent.Name)+"  "+p.Agent.State, " ") + "  " + p.Time.Local().Format(time.DateTime) + "\n")
	for i, c := range few(p.Agent.cgroups()) {
		subject := "cgroup"
		if i > 0 {
			subject = ""
		}
		remark(&b, s, subject, text.Clean(c))
	}
	if p.Agent.State == "ended" {
		remark(&b, s, "ended", "it has no cgroup now; its account and its past stay")
	}
	b.WriteByte('\n')
	if err := p.writeFigures(&b, r, s); err != nil {
		return err
	}
	p.past(&b, zone, s)
	if len(p.Moves) > 0 {
		b.WriteString("\nmoves\n")
		const most = 5
		for _, m := range p.Moves[max(0, len(p.Moves)-most):] {
			b.WriteString("  " + text.Wrap(Escape(m), s.Width, "    ") + "\n")
		}
	}
	b.WriteByte('\n')
	remark(&b, s, "cpu, i/o", SensorLabel(p.Sensor))
	if m := Meter(p.Zones, zone); m.Sockets > 0 {
		remark(&b, s, "energy", "zone "+text.Clean(zone)+": "+m.describe())
	}
	if p.Coarse {
		remark(&b, s, "coarse", "these figures are no finer than 1 s and 0.1 J for this caller")
	}
	for i, what := range few(p.NotMeasured) {
		subject := "missing"
		if i > 0 {
			subject = ""
		}
		remark(&b, s, subject, text.Clean(what))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeFigures writes what it uses now beside what it used in all, or one below
// the other where that is too wide. One that has ended uses nothing.
func (p Page) writeFigures(b *strings.Builder, r Row, s Style) error {
	const now, total = "NOW", "SINCE THE ACCOUNT WAS OPENED"
	both := text.Table{Columns: []text.Column{{}, {Title: now}, {Title: total}}}
	p.figures(&both, r)
	widest := [3]int{0, text.Width(now), text.Width(total)}
	for _, row := range both.Rows {
		for i, cell := range row {
			widest[i] = max(widest[i], text.Width(cell))
		}
	}
	if p.Agent.State != "ended" && (s.Width == 0 || widest[0]+widest[1]+widest[2]+4 <= s.Width) {
		return both.Write(b, 0)
	}
	for i, title := range []string{now, total} {
		if i == 0 && p.Agent.State == "ended" {
			continue
		}
		t := text.Table{Columns: []text.Column{{}, {Title: title}}}
		for _, row := range both.Rows {
			if row[i+1] != "" {
				t.Add(text.Pad(row[0], widest[0], false), text.Wrap(row[i+1], s.Width, strings.Repeat(" ", widest[0]+2)))
			}
		}
		if i == 1 && p.Agent.State != "ended" {
			b.WriteByte('\n')
		}
		if err := t.Write(b, 0); err != nil {
			return err
		}
	}
	return nil
}

// few is the first of a list, and how many more there are: an agent may be
// thousands of cgroups.
func few(list []string) []string {
	const most = 8
	if len(list) <= most+1 {
		return list
	}
	return append(slices.Clone(list[:most]), fmt.Sprintf("and %d more (--json has all)", len(list)-most))
}

// cgroups are all that it has.
func (a Account) cgroups() []string {
	if len(a.Cgroups) > 0 {
		return a.Cgroups
	}
	if a.Cgroup != "" {
		return []string{a.Cgroup}
	}
	return nil
}

// figures fills the table: what it uses now, and used in all.
func (p Page) figures(t *text.Table, r Row) {
	add := func(subject, latest, total string) { t.Add(subject, latest, total) }
	u, q := p.Agent.Total, r.Interval
	switches := unless(u.Lacking.Switches && u.ContextSwitches == 0, text.Count(float64(u.ContextSwitches))+" switches")
	add("cpu", r.CPU(), unless(r.Lacking.CPU && r.CPUNanoseconds == 0, cpuTime(r.CPUNanoseconds))+", "+switches+instructionsOf(u.Further))
	energy := r.Joules()
	if r.Metered {
		energy += " = " + text.WattHours(r.Microjoules) + ", " + SourceLabel(r.Source)
	}
	add("power", r.Watts(), energy)
	add("own i/o", "read "+r.Reads()+", write "+r.Writes(),
		"read "+unless(r.Lacking.IO && r.Read == 0, text.Bytes(r.Read))+", written "+unless(r.Lacking.IO && r.Written == 0, text.Bytes(r.Written)))
	if u.Block == nil {
		add("disks", text.Absent, text.Absent)
	}
	if u.Block != nil && len(u.Block) == 0 {
		add("disks", text.ByteRate(0), text.Bytes(0))
	}
	for _, d := range u.Devices() {
		add(text.Clean(d), blockText(r, onDevice(q.Block, d)), blockTotal(onDevice(u.Block, d)))
	}
	if m := p.Agent.Memory; m == nil {
		add("memory", text.Absent, memoryTotal(u.Further))
	} else {
		held := fmt.Sprintf("%s working set, %s used", text.Bytes(m.WorkingSetBytes), text.Bytes(m.CurrentBytes))
		if m.LimitBytes > 0 {
			held += " of " + text.Bytes(m.LimitBytes) + ", " + text.Percent(float64(m.CurrentBytes)/float64(m.LimitBytes))
		}
		total := memoryTotal(u.Further)
		if m.PeakBytes > 0 {
			total = "peak " + text.Bytes(m.PeakBytes) + ", " + total
		}
		if m.SwapBytes > 0 {
			held += ", swap " + text.Bytes(m.SwapBytes)
		}
		add("memory", held, total)
	}
	add("run queue", waitText(q.RunQueue), waitText(u.RunQueue))
	throttled := text.Absent
	if u.Throttle != nil {
		throttled = cpuTime(u.Throttle.Nanoseconds) + fmt.Sprintf(" in %s periods", text.Count(float64(u.Throttle.Periods)))
	}
	add("throttled", percentText(r.Throttled()), throttled)
	if u.Pressure == nil {
		add("stalls", text.Absent, text.Absent)
	} else {
		add("stalls", fmt.Sprintf("cpu %s, i/o %s, memory %s", percentText(r.stall(cpuStall)), percentText(r.stall(ioStall)), percentText(r.stall(memoryStall))),
			fmt.Sprintf("cpu %s, i/o %s, memory %s", cpuTime(u.Pressure.CPUSome), cpuTime(u.Pressure.IOSome), cpuTime(u.Pressure.MemorySome)))
	}
	if n := u.Network; n == nil {
		add("network", text.Absent, text.Absent)
	} else {
		add("network", "in "+rateText(r.traffic(received))+", out "+rateText(r.traffic(sent)),
			fmt.Sprintf("in %s, out %s, %s refused", text.Bytes(n.ReceivedBytes), text.Bytes(n.SentBytes), text.Count(float64(n.RefusedConnections))))
	}
	if u.MovedOut == nil {
		add("moves", "", text.Absent)
	} else {
		in := uint64(0)
		if u.MovedIn != nil {
			in = *u.MovedIn
		}
		add("moves", "", fmt.Sprintf("%d out, %d in", *u.MovedOut, in))
	}
}

func rateText(v float64) string { return unless(math.IsNaN(v), text.ByteRate(v)) }

func instructionsOf(f Further) string {
	if f.Cycles == nil || f.Instructions == nil || *f.Cycles == 0 {
		return ""
	}
	return fmt.Sprintf(", %.2f instructions a cycle", float64(*f.Instructions)/float64(*f.Cycles))
}

func onDevice(block []BlockUsage, device string) (f Further) {
	for _, b := range block {
		if b.Device == device {
			f.Block = append(f.Block, b)
		}
	}
	return f
}

// blockText is what one disk does now.
func blockText(r Row, f Further) string {
	read, write := f.Disk("read"), f.Disk("write")
	s := "read " + text.ByteRate(r.rate(read.Bytes)) + ", write " + text.ByteRate(r.rate(write.Bytes))
	if all := read.Latency.Add(write.Latency); all.Count > 0 {
		s += ", p99 " + boundText(float64(all.P99Nanoseconds))
	}
	return s
}

func blockTotal(f Further) string {
	var parts []string
	for _, op := range []struct{ name, said string }{{"read", "read"}, {"write", "written"}, {"discard", "discarded"}} {
		if b := f.Disk(op.name); b.Operations > 0 {
			parts = append(parts, op.said+" "+text.Bytes(b.Bytes))
		}
	}
	if b := f.Disk("flush"); b.Operations > 0 {
		parts = append(parts, text.Count(float64(b.Operations))+" flushes")
	}
	if len(parts) == 0 {
		return "0 B"
	}
	return strings.Join(parts, ", ")
}

func memoryTotal(f Further) string {
	if f.Memory == nil {
		return text.Absent
	}
	return fmt.Sprintf("reclaimed %s, %s OOM kills", text.Bytes(f.Memory.ReclaimedBytes), text.Count(float64(f.Memory.OOMKills)))
}

func waitText(t *Times) string {
	switch {
	case t == nil:
		return text.Absent
	case t.Count == 0:
		return "no wait"
	}
	return "p50 " + boundText(float64(t.P50Nanoseconds)) + ", p99 " + boundText(float64(t.P99Nanoseconds))
}

// past draws the window.
func (p Page) past(b *strings.Builder, zone string, s Style) {
	b.WriteByte('\n')
	if p.Past == nil {
		b.WriteString("its past is for people only\n")
		return
	}
	window := text.Duration(time.Duration(p.Past.SinceNanoseconds))
	if !p.Past.Used() {
		b.WriteString("it used nothing in the last " + window + "\n")
		return
	}
	rows := p.Past.rows(p.Agent, zone, p.Time)
	cells := min(60, len(rows))
	if s.Width > 0 {
		cells = max(10, min(cells, s.Width-12-2*12))
	}
	fmt.Fprintf(b, "%s%s  %10s  %10s\n", text.Pad("", 12, false), text.Pad("THE LAST "+window, cells, false), "MEAN", "HIGHEST")
	for _, c := range []struct {
		name  string
		value func(Row) float64
		write func(float64) string
	}{
		{"power", func(r Row) float64 { return orNaN(r.Microwatts, r.Metered) }, text.Watts},
		{"cpu", func(r Row) float64 { return orNaN(r.Cores, !r.Lacking.CPU) }, text.Percent},
		{"own i/o", Row.ownIO, text.ByteRate},
		{"disks", diskRate, text.ByteRate},
		{"waiting", Row.Waiting, countText},
		{"throttled", Row.Throttled, text.Percent},
		{"i/o stall", func(r Row) float64 { return r.stall(ioStall) }, text.Percent},
		{"mem. stall", func(r Row) float64 { return r.stall(memoryStall) }, text.Percent},
		{"network", trafficRate, text.ByteRate},
	} {
		values := make([]float64, len(rows))
		sum, n := 0.0, 0
		for i, r := range rows {
			values[i] = math.NaN()
			if r == nil {
				continue
			}
			if v := c.value(*r); !math.IsNaN(v) {
				values[i] = v
				sum += v
				n++
			}
		}
		if n == 0 {
			continue
		}
		peak := text.Highest(values)
		fmt.Fprintf(b, "%s%s  %10s  %10s\n", text.Pad(c.name, 12, false), s.Charset.Sparkline(values, cells, peak), c.write(sum/float64(n)), c.write(peak))
	}
}
