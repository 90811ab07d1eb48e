package api

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
	"github.com/cam-os/edge/node/observe"
	"github.com/cam-os/edge/node/peer"
)

type nodeService struct {
	camv1.UnimplementedNodeServiceServer
	*Server
}

type operatorService struct {
	camv1.UnimplementedOperatorServiceServer
	*Server
}

// permit checks a request to observe and returns what the caller may see.
func permit(ctx context.Context, accounts []string, breakdown bool) (view, error) {
	v := view{breakdown: breakdown, coarse: callerOf(ctx).Role == peer.Agent}
	if v.coarse && breakdown {
		return v, status.Error(codes.PermissionDenied, "the breakdown of system is for people, not for agents")
	}
	if err := require(ctx, peer.Agent, peer.Reader, peer.Administrator); err != nil {
		return v, err
	}
	var err error
	v.accounts, err = checkAccounts(accounts)
	return v, err
}

// show is what a caller may see of an observation, nil before the first.
func (s *Server) show(v view, o *observe.Observation) (*observe.Observation, view) {
	if v.coarse {
		o = s.coarse.Step(o)
	}
	v.now = boottime()
	return o, v
}

func (s *nodeService) Observe(ctx context.Context, req *camv1.ObserveRequest) (*camv1.ObserveResponse, error) {
	v, err := permit(ctx, req.GetAccounts(), req.GetBreakdown())
	if err != nil {
		return nil, err
	}
	o, v := s.show(v, s.node.Observation())
	if o == nil {
		return nil, status.Error(codes.Unavailable, "the node has not measured yet: try again in a second")
	}
	resp := &camv1.ObserveResponse{Observation: v.observation(o)}
	if len(resp.Observation.Accounts) < len(v.accounts) {
		for _, a := range resp.Observation.Accounts {
			delete(v.accounts, a.Name)
		}
		for name := range v.accounts {
			return nil, status.Errorf(codes.NotFound, "no account is called %q", name)
		}
	}
	return resp, small(resp, "name the accounts, or leave the breakdown out")
}

func (s *nodeService) ObserveStream(req *camv1.ObserveStreamRequest, out grpc.ServerStreamingServer[camv1.ObserveStreamResponse]) error {
	ctx := out.Context()
	v, err := permit(ctx, req.GetAccounts(), req.GetBreakdown())
	if err != nil {
		return err
	}
	interval, err := checkDuration("interval", req.GetInterval(), maxStreamInterval)
	if err != nil {
		return err
	}
	interval -= interval / 20 // a timer's jitter must not skip a look
	observations := s.node.Subscribe(ctx)
	var last *observe.Observation
	for next, open := s.node.Observation(), true; open; {
		o, v := s.show(v, next)
		if o != nil && (last == nil || o.Sequence != last.Sequence && o.At-last.At >= interval) {
			resp := &camv1.ObserveStreamResponse{Observation: v.observation(o)}
			if err := small(resp, "name the accounts, or leave the breakdown out"); err != nil {
				return err
			}
			if err := out.Send(resp); err != nil {
				return err
			}
			last = o
		}
		select {
		case next, open = <-observations:
		case <-ctx.Done():
			open = false
		}
	}
	if s.stopping.Err() == nil && ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return status.Error(codes.Unavailable, "the node is stopping")
}

func (s *operatorService) StartAgent(ctx context.Context, req *camv1.StartAgentRequest) (*camv1.StartAgentResponse, error) {
	if err := require(ctx, peer.Administrator); err != nil {
		return nil, err
	}
	if err := checkName(req.GetName()); err != nil {
		return nil, err
	}
	caller := callerOf(ctx)
	cgroup, err := s.node.StartAgent(ctx, req.GetName(), caller.PID)
	if err != nil {
		return nil, s.fail(ctx, "StartAgent", err)
	}
	s.log.Info("agent started", "agent", req.GetName(), "cgroup", cgroup, "pid", caller.PID, "uid", caller.UID)
	return &camv1.StartAgentResponse{Cgroup: cgroup}, nil
}

func (s *operatorService) Series(ctx context.Context, req *camv1.SeriesRequest) (*camv1.SeriesResponse, error) {
	if err := require(ctx, peer.Reader, peer.Administrator); err != nil {
		return nil, err
	}
	q, err := checkSeries(req.GetSince(), req.GetStep(), req.GetAccounts())
	if err != nil {
		return nil, err
	}
	r, err := s.node.Series(ctx, q)
	if err != nil {
		return nil, s.fail(ctx, "Series", err)
	}
	resp := series(r)
	return resp, small(resp, "take a longer step, a shorter time or fewer accounts")
}

func (s *operatorService) Status(ctx context.Context, _ *camv1.StatusRequest) (*camv1.StatusResponse, error) {
	if err := require(ctx, peer.Reader, peer.Administrator); err != nil {
		return nil, err
	}
	return statusResponse(s.node.Status()), nil
}

// small refuses responses that clients do not accept by default (4 MB).
func small(m proto.Message, remedy string) error {
	if n := proto.Size(m); n > maxResponse {
		return status.Errorf(codes.ResourceExhausted, "the answer has %d bytes, more than %d: %s", n, maxResponse, remedy)
	}
	return nil
}

// fail maps a node's error. The text of an unforeseen one may hold paths: it
// goes to the log, and to administrators.
func (s *Server) fail(ctx context.Context, method string, err error) error {
	for _, m := range []struct {
		err  error
		code codes.Code
	}{
		{ErrInvalidName, codes.InvalidArgument},
		{ErrNameTaken, codes.AlreadyExists},
		{ErrTooMany, codes.ResourceExhausted},
		{ErrUnsupported, codes.FailedPrecondition},
		{ErrUnavailable, codes.Unavailable},
		{context.Canceled, codes.Canceled},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
	} {
		if errors.Is(err, m.err) {
			return status.Error(m.code, err.Error())
		}
	}
	s.log.Error("a call failed", "method", method, "error", err)
	if callerOf(ctx).Role == peer.Administrator {
		return status.Error(codes.Internal, err.Error())
	}
	return status.Errorf(codes.Internal, "%s failed; the node's log says why", method)
}

// boottime is CLOCK_BOOTTIME, 0 where there is none.
func boottime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
