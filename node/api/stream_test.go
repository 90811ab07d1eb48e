package api

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
	"github.com/cam-os/edge/node/observe"
)

func TestStream(t *testing.T) {
	b := &board{}
	_, socket, stop := serveUntil(t, b, Config{})
	cc := client(t, socket)
	node, health := camv1.NewNodeServiceClient(cc), healthv1.NewHealthClient(cc)
	h, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{})
	must(t, err)
	if h.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("%v before the first look", h)
	}
	each, err := node.ObserveStream(t.Context(), &camv1.ObserveStreamRequest{Accounts: []string{"a", "not-yet"}})
	must(t, err)
	third, err := node.ObserveStream(t.Context(), &camv1.ObserveStreamRequest{Interval: durationpb.New(3 * time.Second)})
	must(t, err)
	now := boottime()
	for i := range 10 {
		b.publish(look(uint64(i), now+time.Duration(i)*time.Second, 1))
		r, err := each.Recv()
		must(t, err)
		if r.GetObservation().GetSequence() != uint64(i) || len(r.GetObservation().GetAccounts()) != 1 {
			t.Fatalf("%v, want %d", r, i)
		}
		if i%3 == 0 {
			r, err := third.Recv()
			must(t, err)
			if r.GetObservation().GetSequence() != uint64(i) {
				t.Fatalf("%v, want %d", r, i)
			}
		}
	}
	h, err = health.Check(t.Context(), &healthv1.HealthCheckRequest{})
	must(t, err)
	if h.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("%v after it", h)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended, err := node.ObserveStream(ctx, &camv1.ObserveStreamRequest{})
	must(t, err)
	_, err = ended.Recv()
	must(t, err)
	cancel()
	_, err = ended.Recv()
	wantCode(t, err, codes.Canceled, "")
	must(t, stop())
	_, err = each.Recv()
	wantCode(t, err, codes.Unavailable, "the node is stopping")
}

// A reader that does not read holds nobody up, and then sees the latest totals.
func TestSlowReader(t *testing.T) {
	b := &board{latest: look(0, boottime(), 1)}
	_, socket := serve(t, b, Config{})
	slow, err := camv1.NewNodeServiceClient(client(t, socket)).ObserveStream(t.Context(), &camv1.ObserveStreamRequest{Breakdown: true})
	must(t, err)
	var last *observe.Observation
	for i := range 2000 {
		last = look(uint64(i), boottime(), 1)
		last.Breakdown[0].Cgroup = "/" + strings.Repeat("x", 4000)
		b.publish(last) // never blocks
	}
	for got, missed := uint64(0), false; got != last.Sequence; {
		r, err := slow.Recv()
		must(t, err)
		now := r.GetObservation().GetSequence()
		if now < got {
			t.Fatalf("%d after %d", now, got)
		}
		missed = missed || now > got+1
		if got = now; got == last.Sequence && !missed {
			t.Error("2000 observations of 4 KB fitted: this test shows nothing")
		}
	}
}

// The node ends while callers are connected, and without ctx.
func TestNodeEnds(t *testing.T) {
	b := &board{latest: look(0, boottime(), 1)}
	_, socket, stop := serveUntil(t, b, Config{})
	stream, err := camv1.NewNodeServiceClient(client(t, socket)).ObserveStream(t.Context(), &camv1.ObserveStreamRequest{})
	must(t, err)
	_, err = stream.Recv()
	must(t, err)
	b.end()
	_, err = stream.Recv()
	wantCode(t, err, codes.Unavailable, "the node is stopping")
	must(t, stop()) // it has stopped by itself
	if _, err := net.Dial("unix", socket); err == nil {
		t.Error("a node that ended answers")
	}
}
