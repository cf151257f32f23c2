package server_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/captioner/captioner"
	pb "github.com/captioner/captioner/internal/engine/enginepb"
	"github.com/captioner/captioner/internal/engine/server"
	"github.com/captioner/captioner/internal/engine/wire"
)

// The server is tested through its client in package engine; here stands what
// that client does not do.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server and returns a connection to it, what stops it, and what
// Run has returned.
func serve(t *testing.T, b server.Backend) (conn *grpc.ClientConn, stop context.CancelFunc, result <-chan error) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		ended <- server.New(b, slog.New(slog.DiscardHandler)).Run(ctx, socket)
	}()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = conn.Close(); <-finished })
	return conn, cancel, ended
}

func TestHealth(t *testing.T) {
	loaded := make(chan struct{})
	conn, _, _ := serve(t, server.Backend{Open: func() (server.Loaded, error) {
		<-loaded
		return server.Loaded{TensorFlow: "2.18.0"}, nil
	}})
	health := grpc_health_v1.NewHealthClient(conn)
	status := func() grpc_health_v1.HealthCheckResponse_ServingStatus {
		t.Helper()
		reply, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return reply.GetStatus()
	}
	if got := status(); got != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("while it loads: %v, want NOT_SERVING", got)
	}
	close(loaded)
	info, err := pb.NewEngineClient(conn).Info(t.Context(), &pb.InfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if info.GetProtocol() != wire.Protocol || info.GetTensorflow() != "2.18.0" || info.GetModelInfoJson() != nil {
		t.Errorf("info %v, want protocol %d, TensorFlow 2.18.0 and no model", info, wire.Protocol)
	}
	if got := status(); got != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("once loaded: %v, want SERVING", got)
	}
}

// TestOpenFails: the reason goes to whoever asks, and out of Run in the end.
func TestOpenFails(t *testing.T) {
	conn, stop, result := serve(t, server.Backend{Open: func() (server.Loaded, error) {
		return server.Loaded{}, captioner.Errorf(captioner.Corrupt, "the weights are damaged")
	}})
	client := pb.NewEngineClient(conn)
	_, err := client.Info(t.Context(), &pb.InfoRequest{})
	if got, told := wire.FromStatus(err); captioner.KindOf(got) != captioner.Corrupt || !told {
		t.Errorf("info: %v, want Corrupt", got)
	}
	_, err = client.Caption(t.Context(), &pb.CaptionRequest{})
	if got, _ := wire.FromStatus(err); captioner.KindOf(got) != captioner.Corrupt {
		t.Errorf("caption: %v, want Corrupt", got)
	}
	stop()
	if err := <-result; captioner.KindOf(err) != captioner.Corrupt {
		t.Errorf("run: %v, want Corrupt", err)
	}
}

func TestCaptionWithoutModel(t *testing.T) {
	conn, stop, result := serve(t, server.Backend{Open: func() (server.Loaded, error) { return server.Loaded{}, nil }})
	_, err := pb.NewEngineClient(conn).Caption(t.Context(), &pb.CaptionRequest{})
	if got, _ := wire.FromStatus(err); captioner.KindOf(got) != captioner.Internal {
		t.Errorf("got %v, want Internal", got)
	}
	stop()
	if err := <-result; err != nil {
		t.Errorf("run: %v, want nil", err)
	}
}

// TestTrainMustStart: a stream whose first message is not the start is refused.
func TestTrainMustStart(t *testing.T) {
	conn, _, _ := serve(t, server.Backend{Open: func() (server.Loaded, error) { return server.Loaded{}, nil }})
	stream, err := pb.NewEngineClient(conn).Train(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.TrainInput{Input: &pb.TrainInput_Cancel{Cancel: &pb.Stop{}}}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	if got, told := wire.FromStatus(err); captioner.KindOf(got) != captioner.Internal || !told {
		t.Errorf("got %v, want Internal", got)
	}
}
