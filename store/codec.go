package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/cam-os/edge/store/internal/storepb"
)

// A sealed blob is one byte of format, the CRC-32C of the rest as four bytes
// big-endian, and the payload: the marshalled message, compressed or not.
const (
	formatRaw  = 1
	formatZstd = 2

	sealOverhead = 5
	// maxBlob bounds what a blob may expand to, and so what seal accepts: what
	// is written can be read. 4,000 accounts with 20 zones need about 700 KB,
	// one account with 10,000 zones some 5 MB.
	maxBlob = 32 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// codec packs and unpacks; it holds the compressor's buffers. open may run
// beside anything, seal not beside another seal.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
	buf []byte
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(64<<10), zstd.WithEncoderCRC(false), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, fmt.Errorf("store: compressor: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxBlob), zstd.WithDecoderMaxWindow(1<<20))
	if err != nil {
		return nil, fmt.Errorf("store: decompressor: %w", err)
	}
	return &codec{enc: enc, dec: dec}, nil
}

func (c *codec) close() {
	c.dec.Close()
	_ = c.enc.Close()
}

// seal marshals m. The compressed form is used where it is smaller. What open
// would not accept is a *SizeError.
func (c *codec) seal(m proto.Message, compress bool) ([]byte, error) {
	if n := proto.Size(m); n > maxBlob {
		return nil, fmt.Errorf("store: pack: %w", &SizeError{n, maxBlob})
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(c.buf[:0], m)
	if err != nil {
		return nil, fmt.Errorf("store: pack: %w", err)
	}
	c.buf = raw[:0]
	out := make([]byte, sealOverhead, sealOverhead+len(raw))
	out[0] = formatRaw
	if compress {
		out = c.enc.EncodeAll(raw, out)
		out[0] = formatZstd
	}
	if !compress || len(out) >= sealOverhead+len(raw) {
		out = append(out[:sealOverhead], raw...)
		out[0] = formatRaw
	}
	seal(out)
	return out, nil
}

// seal writes the checksum of a blob's payload.
func seal(blob []byte) {
	binary.BigEndian.PutUint32(blob[1:], crc32.Checksum(blob[sealOverhead:], castagnoli))
}

// errBlob is wrapped by every error about a blob that does not decode.
var errBlob = errors.New("blob is damaged")

// open checks and unmarshals a sealed blob into m. Nothing is allocated beyond
// maxBlob whatever the blob claims, and m shares nothing with it. A blob whose
// checksum is right and that is larger is no damage but a *SizeError.
func (c *codec) open(blob []byte, m proto.Message) error {
	if len(blob) < sealOverhead {
		return fmt.Errorf("%w: %d bytes", errBlob, len(blob))
	}
	payload := blob[sealOverhead:]
	if sum := crc32.Checksum(payload, castagnoli); sum != binary.BigEndian.Uint32(blob[1:]) {
		return fmt.Errorf("%w: checksum %08x, stored %08x", errBlob, sum, binary.BigEndian.Uint32(blob[1:]))
	}
	switch blob[0] {
	case formatRaw:
		if len(payload) > maxBlob {
			return &SizeError{len(payload), maxBlob}
		}
	case formatZstd:
		var err error
		payload, err = c.dec.DecodeAll(payload, nil)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			return &SizeError{0, maxBlob}
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errBlob, err)
		}
	default:
		return fmt.Errorf("%w: format %d is not known", errBlob, blob[0])
	}
	if err := proto.Unmarshal(payload, m); err != nil {
		return fmt.Errorf("%w: %w", errBlob, err)
	}
	return nil
}

func packTime(t time.Time) *storepb.Time {
	if t.IsZero() {
		return nil
	}
	return &storepb.Time{Seconds: t.Unix(), Nanoseconds: uint32(t.Nanosecond())} // #nosec G115 -- 0 to 999,999,999
}

func unpackTime(t *storepb.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Unix(t.Seconds, int64(min(t.Nanoseconds, 999_999_999)))
}

// zoneTable numbers zones in the order in which they are seen.
type zoneTable struct {
	index map[Zone]int
	zones []*storepb.Zone
}

func (t *zoneTable) of(z Zone) int {
	i, ok := t.index[z]
	if !ok {
		if t.index == nil {
			t.index = make(map[Zone]int)
		}
		i = len(t.zones)
		t.index[z] = i
		socket := int32(max(math.MinInt32, min(math.MaxInt32, z.Socket))) // #nosec G115 -- bounded
		t.zones = append(t.zones, &storepb.Zone{Name: z.Name, Socket: socket, Source: z.Source})
	}
	return i
}

// nameTable numbers names in the order in which they are seen.
type nameTable struct {
	index map[string]uint32
	names []string
}

func (t *nameTable) of(name string) uint32 {
	i, ok := t.index[name]
	if !ok {
		if t.index == nil {
			t.index = make(map[string]uint32)
		}
		i = uint32(len(t.names)) // #nosec G115 -- bounded by memory
		t.index[name] = i
		t.names = append(t.names, name)
	}
	return i
}

func unpackZone(z *storepb.Zone) Zone {
	return Zone{Name: z.GetName(), Socket: int(z.GetSocket()), Source: z.GetSource()}
}

func packLedger(l Ledger) *storepb.Ledger {
	p := &storepb.Ledger{BootId: l.BootID, Sequence: l.Sequence}
	var zones zoneTable
	var figures nameTable
	for _, z := range l.Zones {
		i := zones.of(z.Zone)
		for len(p.States) <= i {
			p.States = append(p.States, &storepb.ZoneState{})
		}
		p.States[i] = &storepb.ZoneState{Metered: z.Metered, Agents: z.Agents, System: z.System,
			Idle: z.Idle, Unattributed: z.Unattributed, Baseline: z.Baseline, Present: true}
	}
	for _, a := range l.Accounts {
		acc := &storepb.Account{Name: a.Name, Kind: uint32(a.Kind), Cpu: nanoseconds(a.Total.CPU),
			Switches: a.Total.Switches, Read: a.Total.Read, Written: a.Total.Written}
		for z, e := range a.Total.Energy {
			i := zones.of(z)
			for len(acc.Energy) <= i {
				acc.Energy = append(acc.Energy, 0)
			}
			acc.Energy[i] = e
		}
		for _, f := range slices.Sorted(maps.Keys(a.Total.Figures)) {
			i := int(figures.of(f))
			for len(acc.Figures) <= i {
				acc.Figures = append(acc.Figures, 0)
			}
			acc.Figures[i] = a.Total.Figures[f]
		}
		if g := a.Agent; g != nil {
			acc.Agent = &storepb.Agent{Cgroup: g.Cgroup, Origin: g.Origin, Opened: packTime(g.Opened),
				LastSeen: packTime(g.LastSeen), Ended: packTime(g.Ended)}
		}
		p.Accounts = append(p.Accounts, acc)
	}
	for len(p.States) < len(zones.zones) {
		p.States = append(p.States, &storepb.ZoneState{})
	}
	p.Zones, p.Figures = zones.zones, figures.names
	return p
}

func unpackLedger(p *storepb.Ledger) (Ledger, error) {
	l := Ledger{BootID: p.GetBootId(), Sequence: p.GetSequence()}
	zones := make([]Zone, len(p.GetZones()))
	for i, z := range p.GetZones() {
		zones[i] = unpackZone(z)
	}
	if len(p.GetStates()) != len(zones) {
		return l, fmt.Errorf("%w: %d zones with %d states", errBlob, len(zones), len(p.GetStates()))
	}
	for i, s := range p.GetStates() {
		if s.Present {
			l.Zones = append(l.Zones, ZoneState{Zone: zones[i], Metered: s.Metered, Agents: s.Agents,
				System: s.System, Idle: s.Idle, Unattributed: s.Unattributed, Baseline: s.Baseline})
		}
	}
	for _, a := range p.GetAccounts() {
		if len(a.Energy) > len(zones) || len(a.Figures) > len(p.Figures) || a.Kind > math.MaxUint8 {
			return l, fmt.Errorf("%w: account %q is malformed", errBlob, a.Name)
		}
		acc := AccountState{Name: a.Name, Kind: uint8(a.Kind), Total: Usage{CPU: duration(a.Cpu),
			Switches: a.Switches, Read: a.Read, Written: a.Written}}
		for i, e := range a.Energy {
			if e != 0 {
				acc.Total.add(Usage{Energy: map[Zone]uint64{zones[i]: e}})
			}
		}
		for i, v := range a.Figures {
			acc.Total.figure(p.Figures[i], v)
		}
		if g := a.Agent; g != nil {
			acc.Agent = &AgentState{Cgroup: g.Cgroup, Origin: g.Origin, Opened: unpackTime(g.Opened),
				LastSeen: unpackTime(g.LastSeen), Ended: unpackTime(g.Ended)}
		}
		l.Accounts = append(l.Accounts, acc)
	}
	return l, nil
}

// nanoseconds is d for storing: never negative.
func nanoseconds(d time.Duration) uint64 { return uint64(max(d, 0)) } // #nosec G115 -- not negative

func duration(ns uint64) time.Duration { return time.Duration(min(ns, math.MaxInt64)) } // #nosec G115 -- bounded

// openState opens a State and validates all that is in it.
func (c *codec) openState(blob []byte) (*storepb.State, error) {
	state := new(storepb.State)
	if err := c.open(blob, state); err != nil {
		return nil, err
	}
	if len(state.Store) != len(storeID{}) {
		return nil, fmt.Errorf("%w: store id of %d bytes", errBlob, len(state.Store))
	}
	if _, err := unpackLedger(state.Ledger); err != nil {
		return nil, err
	}
	return state, walkBlock(state.Pending, nil, func(head, []Value) {})
}
