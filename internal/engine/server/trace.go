package server

import (
	"context"
	"os"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"

	"github.com/captioner/captioner/internal/engine/wire"
	"github.com/captioner/captioner/internal/telemetry/relay"
	"github.com/captioner/captioner/internal/telemetry/span"
)

// serviceName is what the engine's spans are filed under.
const serviceName = "captioner-engine"

// propagator reads what the client's otelgrpc has written.
var propagator = propagation.TraceContext{}

// flushTimeout bounds the writing of the last spans.
const flushTimeout = 2 * time.Second

// Traced returns the option by which a server makes spans, written to the file
// that was inherited under the descriptor, and what writes the last of them;
// neither does anything for descriptor 0. The spans continue those of the
// control plane, which decides what is recorded.
func Traced(ctx context.Context, descriptor int, version string) (option grpc.ServerOption, flush func(), err error) {
	if descriptor == 0 {
		return grpc.EmptyServerOption{}, func() {}, nil
	}
	file := os.NewFile(uintptr(descriptor), "traces")
	provider, err := relay.NewProvider(ctx, file, serviceName, version)
	if err != nil {
		return nil, nil, err
	}
	flush = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		_ = provider.Shutdown(ctx) // spans are lost when nobody reads them any more
		_ = file.Close()
	}
	return grpc.StatsHandler(continuing{provider.Tracer(span.Scope)}), flush, nil
}

// continuing puts the client's span of a call above what the call does here. The
// call has no span of its own: beside the client's, on the same machine, it would
// say nothing, and cost as much as all that an engine tells of a caption.
type continuing struct{ tracer trace.Tracer }

// TagRPC implements stats.Handler.
func (c continuing) TagRPC(ctx context.Context, call *stats.RPCTagInfo) context.Context {
	if !wire.Traced(call) {
		return ctx
	}
	headers, _ := metadata.FromIncomingContext(ctx)
	carrier := propagation.MapCarrier{}
	for _, name := range propagator.Fields() {
		if values := headers.Get(name); len(values) > 0 {
			carrier[name] = values[0]
		}
	}
	return span.Continue(propagator.Extract(ctx, carrier), c.tracer)
}

// HandleRPC implements stats.Handler.
func (continuing) HandleRPC(context.Context, stats.RPCStats) {}

// TagConn implements stats.Handler.
func (continuing) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (continuing) HandleConn(context.Context, stats.ConnStats) {}
