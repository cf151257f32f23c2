package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/captioner/captioner"
	pb "github.com/captioner/captioner/internal/engine/enginepb"
	"github.com/captioner/captioner/internal/engine/wire"
	"github.com/captioner/captioner/internal/failpoint"
)

// progressInterval is the least time between two progress events of an
// extraction, which counts pictures of less than a millisecond each.
const progressInterval = 200 * time.Millisecond

func (v service) ExtractFeatures(m *pb.ExtractFeaturesRequest, stream grpc.ServerStreamingServer[pb.ExtractFeaturesEvent]) error {
	s := v.server
	req, err := wire.ToExtractRequest(m)
	if err != nil {
		return wire.Status(err)
	}
	req.Threads = s.backend.Threads
	if err := s.awaitReady(stream.Context()); err != nil {
		return wire.Status(err)
	}
	release, err := s.acquireJob(stream.Context())
	if err != nil {
		return wire.Status(err)
	}
	defer release()
	ctx, cancel := s.untilStop(stream.Context())
	defer cancel()

	var last time.Time
	result, err := s.backend.ExtractFeatures(ctx, req, func(done int) {
		if time.Since(last) < progressInterval {
			return
		}
		last = time.Now()
		// A stream that broke ends ctx, and with it the extraction.
		_ = stream.Send(&pb.ExtractFeaturesEvent{Event: &pb.ExtractFeaturesEvent_Done{Done: int64(done)}})
	})
	if err != nil {
		return wire.Status(err)
	}
	failpoint.Reached(failpoint.Extracted)
	return stream.Send(&pb.ExtractFeaturesEvent{Event: &pb.ExtractFeaturesEvent_Result{Result: wire.FromExtractResult(result)}})
}

// untilStop returns a context that also ends when the server stops.
func (s *Server) untilStop(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (v service) Train(stream grpc.BidiStreamingServer[pb.TrainInput, pb.TrainOutput]) error {
	s := v.server
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetStart() == nil {
		return wire.Status(captioner.Errorf(captioner.Internal, "the first input of a training must start it"))
	}
	req, err := wire.ToTrainRequest(first.GetStart())
	if err != nil {
		return wire.Status(err)
	}
	req.Config.Training.Threads = s.backend.Threads

	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	stop, closeStop := newStop()
	go followInputs(stream, closeStop, cancel)
	go func() {
		select {
		case <-s.stopping:
			closeStop()
		case <-ctx.Done():
		}
	}()

	if err := s.awaitReady(ctx); err != nil {
		return wire.Status(err)
	}
	release, err := s.acquireJob(ctx)
	if err != nil {
		return wire.Status(err)
	}
	defer release()
	result, err := s.backend.Train(ctx, req, stop, func(e captioner.TrainEvent) {
		// A stream that broke ends ctx, and with it the training.
		_ = stream.Send(wire.FromTrainEvent(e))
	})
	if err != nil {
		return wire.Status(err)
	}
	data, err := json.Marshal(result)
	if err != nil {
		return wire.Status(fmt.Errorf("write training result: %w", err))
	}
	failpoint.Reached(failpoint.Trained)
	return stream.Send(&pb.TrainOutput{Output: &pb.TrainOutput_ResultJson{ResultJson: data}})
}

func (v service) ImportModel(ctx context.Context, m *pb.ImportModelRequest) (*pb.ImportModelReply, error) {
	s := v.server
	var req captioner.ImportRequest
	if err := json.Unmarshal(m.GetRequestJson(), &req); err != nil {
		return nil, wire.Status(captioner.Wrap(captioner.Internal, err, "cannot read the request"))
	}
	if err := s.awaitReady(ctx); err != nil {
		return nil, wire.Status(err)
	}
	release, err := s.acquireJob(ctx)
	if err != nil {
		return nil, wire.Status(err)
	}
	defer release()
	result, err := s.backend.ImportModel(ctx, req)
	if err != nil {
		return nil, wire.Status(err)
	}
	data, err := json.Marshal(result)
	if err != nil {
		return nil, wire.Status(fmt.Errorf("write the import's result: %w", err))
	}
	return &pb.ImportModelReply{ResultJson: data}, nil
}

// newStop returns a channel and what closes it, any number of times.
func newStop() (stop chan struct{}, closeStop func()) {
	stop = make(chan struct{})
	var once sync.Once
	return stop, func() { once.Do(func() { close(stop) }) }
}

// followInputs obeys what the client sends after the start, until the stream
// ends. A client that went away cancels the training.
func followInputs(stream grpc.BidiStreamingServer[pb.TrainInput, pb.TrainOutput], closeStop func(), cancel context.CancelFunc) {
	for {
		input, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil || input.GetCancel() != nil:
			cancel()
			return
		case input.GetCheckpoint() != nil:
			closeStop()
		}
	}
}
