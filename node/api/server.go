// Package api serves the node on its unix socket: the gRPC services of
// cam/v1/node.proto, with health and reflection.
//
// Who calls comes from the kernel (package peer) and is asked again at every
// call and before every message of a stream. Requests are bounded in size,
// number and content before the node sees them.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	camv1 "github.com/cam-os/edge/node/api/cam/v1"
	"github.com/cam-os/edge/node/coarse"
	"github.com/cam-os/edge/node/observe"
	"github.com/cam-os/edge/node/peer"
)

// The groups of people.
const (
	ReaderGroup = "cam"
	AdminGroup  = "cam-admin"
)

// Node is what the services show.
type Node interface {
	// Observation is the latest one; nil before the first.
	Observation() *observe.Observation
	// Subscribe gives each observation; a slow receiver finds the latest. The
	// channel closes when ctx or the node ends.
	Subscribe(ctx context.Context) <-chan *observe.Observation
	// AgentOf names the agent that a cgroup path belongs to.
	AgentOf(cgroup string) (string, bool)
	// StartAgent moves a process into a new agent's cgroup and returns its path.
	// Errors wrap those of this package.
	StartAgent(ctx context.Context, name string, pid int) (cgroup string, err error)
	Series(ctx context.Context, q SeriesQuery) (SeriesResult, error)
	Status() Status
}

// Config of a server. Node is required, the rest has defaults.
type Config struct {
	Node Node
	// Coarse is what may be shown to agents, shared with the node's other faces.
	Coarse *coarse.Stepper
	// Admins and Readers are looked up as AdminGroup and ReaderGroup when their
	// name is empty.
	Admins, Readers peer.Group
	// MaxConns bounds all connections, MaxConnsEach those of one agent or, outside
	// of agents, one uid. Defaults: 512 and 64.
	MaxConns, MaxConnsEach int
	// NoPeerPidfd: see peer.Config.
	NoPeerPidfd bool
	Log         *slog.Logger
}

// Limits of what a client may send and hold.
const (
	maxRequest      = 64 << 10
	maxHeaders      = 16 << 10
	maxStreams      = 64 // at a time, per connection
	maxResponse     = 4<<20 - 4096
	handshakeTime   = 5 * time.Second
	unaryTime       = 30 * time.Second
	minPing         = 5 * time.Second
	idleTime        = 15 * time.Minute
	goodbyeTime     = time.Second
	streamWriteSize = 32 << 10
)

// Server serves one node.
type Server struct {
	node   Node
	coarse *coarse.Stepper
	rules  peer.Rules
	log    *slog.Logger
	creds  *peer.Credentials
	crowd  *crowd
	grpc   *grpc.Server
	health *health.Server
	// stopping ends the streams.
	stopping context.Context
	stop     context.CancelFunc
}

// NewServer returns a server, or why this machine cannot have one.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Node == nil {
		return nil, errors.New("api: no node")
	}
	s := &Server{node: cfg.Node, coarse: cfg.Coarse, log: cfg.Log, health: health.NewServer()}
	if s.coarse == nil {
		s.coarse = &coarse.Stepper{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.rules = peer.Rules{Self: uint32(os.Geteuid()), Admins: cfg.Admins, Readers: cfg.Readers} // #nosec G115 -- a uid
	for _, g := range []struct {
		group *peer.Group
		name  string
	}{{&s.rules.Admins, AdminGroup}, {&s.rules.Readers, ReaderGroup}} {
		if g.group.Name != "" {
			continue
		}
		var err error
		if *g.group, err = peer.LookupGroup(g.name); err != nil {
			s.log.Warn("group cannot be looked up; nobody is in it", "group", g.name, "error", err)
		}
	}
	s.crowd = newCrowd(cfg.MaxConns, cfg.MaxConnsEach, cfg.Node.AgentOf)
	var err error
	if s.creds, err = peer.New(peer.Config{NoPeerPidfd: cfg.NoPeerPidfd, Admit: s.crowd.admit}); err != nil {
		return nil, err
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(
		grpc.Creds(s.creds),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxSendMsgSize(maxResponse),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.WriteBufferSize(streamWriteSize),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTime}),
		grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
	)
	camv1.RegisterNodeServiceServer(s.grpc, &nodeService{Server: s})
	camv1.RegisterOperatorServiceServer(s.grpc, &operatorService{Server: s})
	healthv1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.serving(healthv1.HealthCheckResponse_NOT_SERVING)
	return s, nil
}

func (s *Server) serving(status healthv1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(camv1.NodeService_ServiceDesc.ServiceName, status)
	s.health.SetServingStatus(camv1.OperatorService_ServiceDesc.ServiceName, status)
}

// Serve serves on a listener of Listen until ctx or the node ends; it closes
// the listener. Calls under way get a second to finish, streams end at once. A
// server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.follow(ctx)
		s.shutdown()
	}()
	err := s.grpc.Serve(l)
	cancel()
	<-done
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	return nil
}

// follow keeps the coarse figures and the health up to date until ctx or the
// node ends.
func (s *Server) follow(ctx context.Context) {
	observations := s.node.Subscribe(ctx)
	s.saw(s.node.Observation())
	for {
		select {
		case o, ok := <-observations:
			if !ok {
				return
			}
			s.saw(o)
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) saw(o *observe.Observation) {
	if o != nil {
		s.coarse.Step(o)
		s.serving(healthv1.HealthCheckResponse_SERVING)
	}
}

func (s *Server) shutdown() {
	s.health.Shutdown()
	s.stop()
	hard := time.AfterFunc(goodbyeTime, s.grpc.Stop)
	defer hard.Stop()
	s.grpc.GracefulStop()
}

// Refused counts connections that were refused or lost their identity.
func (s *Server) Refused() map[peer.Reason]uint64 { return s.creds.Refused() }
