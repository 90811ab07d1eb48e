package api

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
	"github.com/cam-os/edge/node/ledger"
	"github.com/cam-os/edge/node/observe"
)

// fakeless is a small real node: what is published is what was put in.
type board struct {
	latest *observe.Observation
	ch     chan *observe.Observation
}

func (b *board) Observation() *observe.Observation                         { return b.latest }
func (b *board) Subscribe(ctx context.Context) <-chan *observe.Observation { return b.ch }
func (b *board) AgentOf(string) (string, bool)                             { return "", false }
func (b *board) StartAgent(context.Context, string, int) (string, error)   { return "/x", nil }
func (b *board) Series(context.Context, SeriesQuery) (SeriesResult, error) {
	return SeriesResult{}, nil
}
func (b *board) Status() Status { return Status{Version: "v"} }

func TestWalk(t *testing.T) {
	for _, fallback := range []bool{false, true} {
		b := &board{ch: make(chan *observe.Observation), latest: &observe.Observation{Sequence: 3, At: time.Hour,
			Accounts: []ledger.Account{{Name: "system", Kind: ledger.KindSystem}}}}
		s, err := NewServer(Config{Node: b, NoPeerPidfd: fallback})
		if err != nil {
			t.Fatal(err)
		}
		l, err := Listen(filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Serve(ctx, l) }()
		cc, err := grpc.NewClient("unix:"+l.path, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		r, err := camv1.NewNodeServiceClient(cc).Observe(t.Context(), &camv1.ObserveRequest{})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(r)
		h, err := healthv1.NewHealthClient(cc).Check(t.Context(), &healthv1.HealthCheckRequest{})
		t.Log(h, err)
		st, err := camv1.NewNodeServiceClient(cc).ObserveStream(t.Context(), &camv1.ObserveStreamRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if m, err := st.Recv(); err != nil {
			t.Fatal(m, err)
		}
		cancel()
		_, err = st.Recv()
		t.Log(err)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		cc.Close()
		t.Log(s.Refused())
	}
}
