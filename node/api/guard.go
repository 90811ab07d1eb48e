package api

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cam-os/edge/node/peer"
)

type callerKey struct{}

// callerOf is who calls; the guard has put it there.
func callerOf(ctx context.Context) peer.Caller {
	c, _ := ctx.Value(callerKey{}).(peer.Caller)
	return c // without a guard: a stranger
}

// identify says who calls, and that the caller still is who connected.
func (s *Server) identify(ctx context.Context) (peer.Caller, error) {
	id, err := peer.FromContext(ctx)
	if err != nil {
		return peer.Caller{}, status.Error(codes.Unauthenticated, err.Error())
	}
	if err := id.Check(ctx); err != nil {
		var r *peer.Refusal
		if errors.As(err, &r) {
			return peer.Caller{}, status.Error(codes.Unauthenticated, r.Error())
		}
		return peer.Caller{}, status.FromContextError(err).Err()
	}
	caller, err := s.rules.Caller(id.Peer, s.node.AgentOf)
	if err != nil {
		return caller, status.Error(codes.PermissionDenied, err.Error()+restart(s.rules.Readers, s.rules.Admins))
	}
	return caller, nil
}

// restart is what a remedy lacks that makes a group: the node looks groups up
// when it starts.
func restart(groups ...peer.Group) string {
	for _, g := range groups {
		if !g.Exists {
			return "; then restart the node, which reads groups when it starts"
		}
	}
	return ""
}

// require refuses callers of other roles.
func require(ctx context.Context, roles ...peer.Role) error {
	c := callerOf(ctx)
	switch {
	case slices.Contains(roles, c.Role):
		return nil
	case c.Role == peer.Agent:
		return status.Errorf(codes.PermissionDenied, "agent %s may not do this: it is for people", c.Agent)
	}
	return status.Errorf(codes.PermissionDenied, "uid %d may only read: usermod -aG %s USER, then log in again", c.UID, AdminGroup)
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	defer s.survive(info.FullMethod, &err)
	caller, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, callerKey{}, caller), unaryTime)
	defer cancel()
	return handle(ctx, req)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer s.survive(info.FullMethod, &err)
	caller, err := s.identify(ss.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithValue(ss.Context(), callerKey{}, caller))
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	return handle(srv, &guarded{ServerStream: ss, ctx: ctx, server: s, caller: caller})
}

// survive turns a panic into an error: one bad call does not end the node.
func (s *Server) survive(method string, err *error) {
	if p := recover(); p != nil {
		s.log.Error("a call panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "the node failed at this call; its log says how")
	}
}

// guarded asks who is there before each message.
type guarded struct {
	grpc.ServerStream
	ctx    context.Context
	server *Server
	caller peer.Caller
}

func (g *guarded) Context() context.Context { return g.ctx }

func (g *guarded) SendMsg(m any) error {
	now, err := g.server.identify(g.ServerStream.Context())
	if err != nil {
		return err
	}
	// The same cgroup may have become an agent's meanwhile.
	if now.Role != g.caller.Role || now.Agent != g.caller.Agent {
		return status.Error(codes.Unauthenticated, "the caller's role has changed: call again")
	}
	return g.ServerStream.SendMsg(m)
}
