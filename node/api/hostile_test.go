package api

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frame is an HTTP/2 frame that may lie about its length.
func frame(length uint32, kind, flags byte, stream uint32, payload []byte) []byte {
	f := make([]byte, 9, 9+len(payload))
	binary.BigEndian.PutUint32(f, length<<8|uint32(kind))
	f[4] = flags
	binary.BigEndian.PutUint32(f[5:], stream)
	return append(f, payload...)
}

func TestHostileBytes(t *testing.T) {
	both(t, func(t *testing.T, cfg Config) {
		s, socket := serve(t, &board{latest: look(1, boottime(), 1)}, cfg)
		random := rand.New(rand.NewPCG(1, 2))
		noise := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			return b
		}
		settings := preface + string(frame(0, 4, 0, 0, nil))
		attacks := map[string][]byte{
			"nothing":               nil,
			"noise":                 noise(4096),
			"zeros":                 make([]byte, 1<<16),
			"HTTP/1.1":              []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
			"TLS":                   append([]byte{22, 3, 1, 2, 0, 1}, noise(512)...),
			"half a preface":        []byte(preface[:10]),
			"preface, then noise":   append([]byte(preface), noise(4096)...),
			"a frame of 16 MB":      append([]byte(settings), frame(1<<24-1, 0, 0, 1, make([]byte, 1<<16))...),
			"settings of 16 MB":     append([]byte(preface), frame(1<<24-1, 4, 0, 0, make([]byte, 1<<16))...),
			"data without stream":   append([]byte(settings), frame(4, 0, 0, 0, noise(4))...),
			"headers of noise":      append([]byte(settings), frame(512, 1, 5, 1, noise(512))...),
			"headers of stream 0":   append([]byte(settings), frame(4, 1, 5, 0, noise(4))...),
			"continuation at once":  append([]byte(settings), frame(4, 9, 4, 1, noise(4))...),
			"window of 2^31":        append([]byte(settings), bytes.Repeat(frame(4, 8, 0, 0, []byte{0x7f, 255, 255, 255}), 3)...),
			"a flood of pings":      append([]byte(settings), bytes.Repeat(frame(8, 6, 0, 0, noise(8)), 1000)...),
			"a flood of resets":     append([]byte(settings), bytes.Repeat(frame(4, 3, 0, 1, noise(4)), 1000)...),
			"a flood of settings":   append([]byte(settings), bytes.Repeat(frame(0, 4, 0, 0, nil), 1000)...),
			"an unknown frame type": append([]byte(settings), frame(100, 99, 255, 7, noise(100))...),
		}
		for name, bytes := range attacks {
			c := dial(t, socket)
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_, _ = c.Write(bytes)
			_ = c.(*net.UnixConn).CloseWrite()
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Logf("%s: %v", name, err)
			}
			_ = c.Close()
		}
		// All of them are gone, and the node answers.
		if _, err := camv1.NewNodeServiceClient(client(t, socket)).Observe(t.Context(), &camv1.ObserveRequest{}); err != nil {
			t.Error(err)
		}
		for range 500 {
			if s.crowd.count() == 1 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%d connections are left", s.crowd.count())
	})
}

func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// raw sends bytes as they are where a message belongs.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }

var _ encoding.CodecV2 = raw{}

func TestHostileMessages(t *testing.T) {
	b := &board{latest: look(1, boottime(), 1)}
	_, socket := serve(t, b, Config{})
	cc := client(t, socket)
	const observe = "/cam.v1.NodeService/Observe"
	for _, message := range [][]byte{
		{0xff}, {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, bytes.Repeat([]byte{0x0b}, 10_000), {0x0a, 0x02, 0xc3, 0x28},
	} {
		err := cc.Invoke(t.Context(), observe, message, nil, grpc.ForceCodecV2(raw{}))
		wantCode(t, err, codes.Internal, "unmarshal")
	}
	wantCode(t, cc.Invoke(t.Context(), observe, make([]byte, maxRequest+1), nil, grpc.ForceCodecV2(raw{})), codes.ResourceExhausted, "larger than max")
	wantCode(t, cc.Invoke(t.Context(), "/cam.v1.NodeService/Nothing", []byte{}, nil, grpc.ForceCodecV2(raw{})), codes.Unimplemented, "")
	// A client that was told the limit of headers keeps to it by itself.
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x", string(bytes.Repeat([]byte("h"), maxHeaders)))
	if err := cc.Invoke(ctx, observe, []byte{}, nil, grpc.ForceCodecV2(raw{})); err == nil {
		t.Error("headers without bound")
	}
	must(t, cc.Invoke(t.Context(), observe, []byte{}, nil, grpc.ForceCodecV2(raw{})))
}

func TestPanic(t *testing.T) {
	b := &board{latest: look(1, boottime(), 1)}
	_, socket := serve(t, b, Config{})
	node := camv1.NewNodeServiceClient(client(t, socket))
	_, err := node.Observe(t.Context(), &camv1.ObserveRequest{})
	must(t, err)
	b.mu.Lock()
	b.panics = true
	b.mu.Unlock()
	_, err = node.Observe(t.Context(), &camv1.ObserveRequest{})
	wantCode(t, err, codes.Internal, "the node failed at this call")
	st, err := node.ObserveStream(t.Context(), &camv1.ObserveStreamRequest{})
	must(t, err)
	_, err = st.Recv()
	wantCode(t, err, codes.Internal, "the node failed at this call")
	b.mu.Lock()
	b.panics = false
	b.mu.Unlock()
	_, err = node.Observe(t.Context(), &camv1.ObserveRequest{})
	must(t, err)
}

func TestCrowd(t *testing.T) {
	dir, path := leaf(t, "crowd")
	b := &board{latest: look(1, boottime(), 1), agents: map[string]string{path: "a"}}
	s, socket := serve(t, b, Config{MaxConns: 2, MaxConnsEach: 3})
	for i := range 5 {
		c := dial(t, socket)
		// The node's settings come to those who are let in.
		_, err := io.ReadFull(c, make([]byte, 9))
		if (err == nil) != (i < 3) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	if n := s.Refused()["crowded"]; n != 2 {
		t.Errorf("%d refused", n)
	}
	// Root has used up its share and the whole; an agent that runs as root too.
	if got := ask(t, dir, order{Socket: socket, Calls: []string{"observe"}}); got[0].Code != codes.Unavailable {
		t.Errorf("%v", got)
	}
	if _, ok := s.crowd.by["agent a"]; ok || s.crowd.count() != 3 {
		t.Errorf("%v", fmt.Sprint(s.crowd.by))
	}
}
