// Package server is the engine's side of the gRPC contract: it gives a model
// that captions, an extraction and a training to the control plane at the other
// end of a Unix socket. What does the work is handed in as a [Backend], so that
// this package needs no TensorFlow; cmd/captioner-engine joins the two.
package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/captioner/captioner"
	pb "github.com/captioner/captioner/internal/engine/enginepb"
	"github.com/captioner/captioner/internal/engine/wire"
)

// Backend is what an engine can do.
type Backend struct {
	// Threads is the number of CPU threads, fixed for the life of the process.
	Threads int
	// Open prepares the engine and loads the model, if it was given one. It is
	// called once, in Serve.
	Open func() (Loaded, error)
	// ExtractFeatures writes one shard; see captioner.FeatureExtractor.
	ExtractFeatures func(ctx context.Context, req captioner.ExtractRequest, progress func(done int)) (captioner.ExtractResult, error)
	// Train fits a model; see captioner.Trainer. When stop is closed it saves
	// a checkpoint, reports it and returns an Unavailable error with code
	// "stopped"; when ctx ends it stops within one step.
	Train func(ctx context.Context, req captioner.TrainRequest, stop <-chan struct{}, progress func(captioner.TrainEvent)) (captioner.TrainResult, error)
	// ImportModel makes a model; see captioner.ModelImporter.
	ImportModel func(ctx context.Context, req captioner.ImportRequest) (captioner.ImportResult, error)
}

// Loaded is what Open found.
type Loaded struct {
	TensorFlow string
	Devices    []string
	// Captioner is nil for an engine without a model.
	Captioner captioner.Captioner
}

// Server serves one engine. Create it with [New].
type Server struct {
	backend Backend
	logger  *slog.Logger
	grpc    *grpc.Server
	health  *health.Server

	ready   chan struct{} // closed once loaded and loadErr are set
	loaded  Loaded
	loadErr error

	job      chan struct{} // holds one value while a job runs
	stopping chan struct{} // closed by Stop
	stopOnce sync.Once
}

// New returns a server that is not serving yet. Options extend the gRPC
// server; their interceptors come before its own.
func New(backend Backend, logger *slog.Logger, options ...grpc.ServerOption) *Server {
	s := &Server{
		backend:  backend,
		logger:   logger,
		health:   health.NewServer(),
		ready:    make(chan struct{}),
		job:      make(chan struct{}, 1),
		stopping: make(chan struct{}),
	}
	s.grpc = grpc.NewServer(append(options,
		grpc.MaxRecvMsgSize(wire.MaxMessageBytes),
		grpc.MaxSendMsgSize(wire.MaxMessageBytes),
		grpc.InitialWindowSize(4<<20),
		grpc.InitialConnWindowSize(4<<20),
		grpc.ChainUnaryInterceptor(s.guardUnary),
		grpc.ChainStreamInterceptor(s.guardStream),
	)...)
	s.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	pb.RegisterEngineServer(s.grpc, service{server: s})
	return s
}

// Serve opens the backend while it answers calls on l, and returns once Stop
// has ended them. A backend that does not open makes Info fail with the
// reason, which Serve returns when it ends.
func (s *Server) Serve(l net.Listener) error {
	go s.open()
	err := s.grpc.Serve(l)
	<-s.ready
	if s.loadErr != nil {
		return s.loadErr
	}
	if err != nil {
		return fmt.Errorf("serve engine: %w", err)
	}
	return nil
}

func (s *Server) open() {
	defer close(s.ready)
	s.loaded, s.loadErr = s.backend.Open()
	if s.loadErr == nil {
		s.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	}
}

// Stop refuses new calls, tells a running training to save a checkpoint, ends a
// running extraction, waits for the calls that run, and ends Serve.
func (s *Server) Stop() {
	s.stopOnce.Do(func() { close(s.stopping) })
	s.health.Shutdown()
	s.grpc.GracefulStop()
}

// acquireJob waits until no other job runs, and returns what ends this one. An
// engine that is ending takes none, also when nothing runs any more.
func (s *Server) acquireJob(ctx context.Context) (release func(), err error) {
	ending := &captioner.Error{Kind: captioner.Unavailable, Code: wire.CodeEnding, Message: "the engine is ending"}
	select {
	case <-s.stopping:
		return nil, ending
	default:
	}
	select {
	case s.job <- struct{}{}:
		return func() { <-s.job }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.stopping:
		return nil, ending
	}
}

// awaitReady returns once the backend is open, or why it is not.
func (s *Server) awaitReady(ctx context.Context) error {
	select {
	case <-s.ready:
		return s.loadErr
	case <-ctx.Done():
		return ctx.Err()
	}
}

// service answers the calls.
type service struct {
	pb.UnimplementedEngineServer
	server *Server
}

func (v service) Info(ctx context.Context, _ *pb.InfoRequest) (*pb.InfoReply, error) {
	s := v.server
	if err := s.awaitReady(ctx); err != nil {
		return nil, wire.Status(err)
	}
	reply := &pb.InfoReply{
		Protocol: wire.Protocol, Tensorflow: s.loaded.TensorFlow, Devices: s.loaded.Devices, Threads: int32(s.backend.Threads),
	}
	if s.loaded.Captioner != nil {
		model, err := json.Marshal(s.loaded.Captioner.Model())
		if err != nil {
			return nil, wire.Status(fmt.Errorf("write model description: %w", err))
		}
		reply.ModelInfoJson = model
	}
	return reply, nil
}

func (v service) Caption(ctx context.Context, m *pb.CaptionRequest) (*pb.CaptionReply, error) {
	s := v.server
	if err := s.awaitReady(ctx); err != nil {
		return nil, wire.Status(err)
	}
	if s.loaded.Captioner == nil {
		return nil, wire.Status(captioner.Errorf(captioner.Internal, "the engine was started without a model"))
	}
	reply, err := s.loaded.Captioner.Caption(ctx, wire.ToCaptionRequest(m))
	if err != nil {
		return nil, wire.Status(err)
	}
	return wire.FromCaptionReply(reply), nil
}

// guardUnary turns a panic in a call into an Internal error of that call, so
// that one picture that trips over a bug does not end the others' captions.
func (s *Server) guardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (reply any, err error) {
	defer s.recover(ctx, info.FullMethod, &err)
	return handler(ctx, req)
}

func (s *Server) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer s.recover(stream.Context(), info.FullMethod, &err)
	return handler(srv, stream)
}

func (s *Server) recover(ctx context.Context, method string, err *error) {
	if reason := recover(); reason != nil {
		s.logger.ErrorContext(ctx, "panic in an engine call", "method", method, "reason", reason, "stack", string(debug.Stack()))
		*err = wire.Status(captioner.Wrap(captioner.Internal, fmt.Errorf("panic: %v", reason), "the engine failed"))
	}
}
