package store

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cam-os/edge/store/internal/storepb"
)

// head is a point without its values. Its wall clock is offset + boottime.
type head struct {
	boot     uint32        // ordinal of the boot
	boottime time.Duration // of the start, not negative
	offset   int64         // wall clock minus CLOCK_BOOTTIME, ns
	covered  time.Duration
}

// builder makes a block, point by point.
type builder struct {
	block    storepb.Block
	accounts map[string]uint32
	zones    zoneTable
	energy   []energyEntry
	figures  nameTable
	last     head
}

type energyEntry struct {
	value, zone int
	amount      uint64
}

func (b *builder) len() int { return len(b.block.Boot) }

// point starts a point; value adds to it.
func (b *builder) point(h head) {
	p := &b.block
	p.Boot = append(p.Boot, h.boot)
	p.Boottime = append(p.Boottime, int64(h.boottime-b.last.boottime))
	p.Offset = append(p.Offset, h.offset-b.last.offset) // wraps, and back when read
	p.Covered = append(p.Covered, nanoseconds(h.covered))
	p.Values = append(p.Values, 0)
	b.last = h
}

func (b *builder) value(v Value) {
	if v.Usage.zero() {
		return
	}
	i, ok := b.accounts[v.Account]
	if !ok {
		if b.accounts == nil {
			b.accounts = make(map[string]uint32)
		}
		i = uint32(len(b.block.Accounts)) // #nosec G115 -- bounded by memory
		b.accounts[v.Account] = i
		b.block.Accounts = append(b.block.Accounts, v.Account)
	}
	p := &b.block
	p.Values[len(p.Values)-1]++
	n := len(p.Account)
	p.Account = append(p.Account, i)
	p.Cpu = append(p.Cpu, nanoseconds(v.Usage.CPU))
	p.Switches = append(p.Switches, v.Usage.Switches)
	p.Read = append(p.Read, v.Usage.Read)
	p.Written = append(p.Written, v.Usage.Written)
	for z, e := range v.Usage.Energy {
		if e != 0 {
			b.energy = append(b.energy, energyEntry{n, b.zones.of(z), e})
		}
	}
	before := len(p.Figure)
	for _, f := range slices.Sorted(maps.Keys(v.Usage.Figures)) {
		if a := v.Usage.Figures[f]; a != 0 {
			p.Figure = append(p.Figure, b.figures.of(f))
			p.Amount = append(p.Amount, a)
		}
	}
	p.FigureCounts = append(p.FigureCounts, uint32(len(p.Figure)-before)) // #nosec G115 -- bounded by memory
}

// cells is how many numbers the block's columns hold, each of a byte or more.
func (b *builder) cells() int {
	return len(b.block.Account)*(6+len(b.zones.zones)) + 2*len(b.block.Figure)
}

// finish returns the block of what was added so far; the builder can go on.
func (b *builder) finish() *storepb.Block {
	n := len(b.block.Account)
	out := &storepb.Block{
		Accounts: b.block.Accounts, Zones: b.zones.zones,
		Boot: b.block.Boot, Boottime: b.block.Boottime, Offset: b.block.Offset,
		Covered: b.block.Covered, Values: b.block.Values, Account: b.block.Account,
		Cpu: orNil(b.block.Cpu), Switches: orNil(b.block.Switches),
		Read: orNil(b.block.Read), Written: orNil(b.block.Written),
	}
	if len(b.block.Figure) > 0 {
		out.Figures, out.FigureCounts = b.figures.names, b.block.FigureCounts
		out.Figure, out.Amount = b.block.Figure, b.block.Amount
	}
	if len(b.energy) > 0 {
		out.Energy = make([]uint64, n*len(b.zones.zones))
		for _, e := range b.energy {
			out.Energy[e.zone*n+e.value] = e.amount
		}
	}
	return out
}

// orNil drops a column of zeros.
func orNil(column []uint64) []uint64 {
	for _, v := range column {
		if v != 0 {
			return column
		}
	}
	return nil
}

// walkBlock calls point for each point of a block, with the values of the
// accounts that want accepts (nil wants all). It validates the block first: an
// error means that nothing was called.
func walkBlock(b *storepb.Block, want func(string) bool, point func(head, []Value)) error {
	points, n, zones := len(b.GetBoot()), len(b.GetAccount()), len(b.GetZones())
	if len(b.GetBoottime()) != points || len(b.GetOffset()) != points ||
		len(b.GetCovered()) != points || len(b.GetValues()) != points {
		return fmt.Errorf("%w: columns of points differ in length", errBlob)
	}
	for _, c := range [][]uint64{b.GetCpu(), b.GetSwitches(), b.GetRead(), b.GetWritten()} {
		if len(c) != 0 && len(c) != n {
			return fmt.Errorf("%w: columns of values differ in length", errBlob)
		}
	}
	if e := len(b.GetEnergy()); e != 0 && e != n*zones {
		return fmt.Errorf("%w: %d energies for %d values in %d zones", errBlob, e, n, zones)
	}
	var sum uint64
	for _, v := range b.GetValues() {
		sum += uint64(v)
	}
	if sum != uint64(n) {
		return fmt.Errorf("%w: points claim %d values of %d", errBlob, sum, n)
	}
	for _, a := range b.GetAccount() {
		if int(a) >= len(b.GetAccounts()) {
			return fmt.Errorf("%w: account %d of %d", errBlob, a, len(b.GetAccounts()))
		}
	}

	if err := checkFigures(b, n); err != nil {
		return err
	}

	wanted := make([]bool, len(b.GetAccounts()))
	for i, name := range b.GetAccounts() {
		wanted[i] = want == nil || want(name)
	}
	zone := make([]Zone, zones)
	for i, z := range b.GetZones() {
		zone[i] = unpackZone(z)
	}
	at := func(column []uint64, i int) uint64 {
		if len(column) == 0 {
			return 0
		}
		return column[i]
	}
	var h head
	i, figure := 0, 0
	for p := range points {
		h.boot = b.Boot[p]
		h.boottime += time.Duration(b.Boottime[p])
		h.offset += b.Offset[p]
		h.covered = duration(b.Covered[p])
		var values []Value
		for range b.Values[p] {
			first := figure
			if len(b.FigureCounts) != 0 {
				figure += int(b.FigureCounts[i])
			}
			if a := b.Account[i]; wanted[a] {
				u := Usage{CPU: duration(at(b.Cpu, i)), Switches: at(b.Switches, i),
					Read: at(b.Read, i), Written: at(b.Written, i)}
				for z := range zone {
					if e := at(b.Energy, z*n+i); e != 0 {
						if u.Energy == nil {
							u.Energy = make(map[Zone]uint64, zones)
						}
						u.Energy[zone[z]] = addSat(u.Energy[zone[z]], e)
					}
				}
				for f := first; f < figure; f++ {
					u.figure(b.Figures[b.Figure[f]], b.Amount[f])
				}
				values = append(values, Value{b.Accounts[a], u})
			}
			i++
		}
		out := h
		out.boottime = max(out.boottime, 0)
		point(out, values)
	}
	return nil
}

// checkFigures validates the figures of a block with n values.
func checkFigures(b *storepb.Block, n int) error {
	if c := len(b.GetFigureCounts()); c != 0 && c != n || len(b.GetFigure()) != len(b.GetAmount()) {
		return fmt.Errorf("%w: columns of figures differ in length", errBlob)
	}
	var sum uint64
	for _, c := range b.GetFigureCounts() {
		sum += uint64(c)
	}
	if sum != uint64(len(b.GetFigure())) {
		return fmt.Errorf("%w: values claim %d figures of %d", errBlob, sum, len(b.GetFigure()))
	}
	for _, f := range b.GetFigure() {
		if int(f) >= len(b.GetFigures()) {
			return fmt.Errorf("%w: figure %d of %d", errBlob, f, len(b.GetFigures()))
		}
	}
	return nil
}

// cell sums points that belong to one minute, hour or step.
type cell struct {
	head
	values map[string]*Usage
}

func (c *cell) add(h head, values []Value) {
	if c.values == nil {
		*c = cell{h, make(map[string]*Usage, len(values))}
	} else {
		// The latest offset is the one to trust, as for the whole boot; the
		// start is the earliest.
		c.boottime, c.offset = min(c.boottime, h.boottime), h.offset
		c.covered = addDuration(c.covered, h.covered)
	}
	for _, v := range values {
		u := c.values[v.Account]
		if u == nil {
			u = &Usage{}
			c.values[v.Account] = u
		}
		u.add(v.Usage)
	}
}

// list returns the values by name, without those that are nothing.
func (c *cell) list() []Value {
	out := make([]Value, 0, len(c.values))
	for name, u := range c.values {
		if !u.zero() {
			out = append(out, Value{name, *u})
		}
	}
	slices.SortFunc(out, func(a, b Value) int {
		if a.Account < b.Account {
			return -1
		}
		return 1
	})
	return out
}

func (b *builder) cell(c *cell) {
	b.point(c.head)
	for _, v := range c.list() {
		b.value(v)
	}
}
