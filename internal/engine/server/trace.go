package server

import (
	"context"
	"os"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/captioner/captioner/internal/telemetry/relay"
	"github.com/captioner/captioner/internal/telemetry/span"
)

// serviceName is what the engine's spans are filed under.
const serviceName = "captioner-engine"

// propagator reads what the client has written of a trace.
var propagator = propagation.TraceContext{}

// flushTimeout bounds the writing of the last spans.
const flushTimeout = 2 * time.Second

// Traced returns the options by which a server makes spans, written to the file
// that was inherited under the descriptor, and what writes the last of them;
// neither does anything for descriptor 0. The spans continue those of the
// control plane, which decides what is recorded.
func Traced(ctx context.Context, descriptor int, version string) (options []grpc.ServerOption, flush func(), err error) {
	if descriptor == 0 {
		return nil, func() {}, nil
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
	c := continuing{provider.Tracer(span.Scope)}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(c.unary), grpc.ChainStreamInterceptor(c.stream)}, flush, nil
}

// continuing puts the client's span of a call above what the call does here. The
// call has no span of its own: beside the client's, on the same machine, it would
// say nothing.
type continuing struct{ tracer trace.Tracer }

func (c continuing) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	return handler(c.above(ctx), req)
}

func (c continuing) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(srv, continuedStream{stream, c.above(stream.Context())})
}

// above returns ctx with the span that the call's metadata names, if it does.
func (c continuing) above(ctx context.Context) context.Context {
	return span.Continue(propagator.Extract(ctx, incoming{ctx}), c.tracer)
}

// continuedStream is a stream with another context.
type continuedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns it.
func (s continuedStream) Context() context.Context { return s.ctx }

// incoming is the metadata of a call. It implements OpenTelemetry's carrier for
// reading.
type incoming struct{ ctx context.Context }

// Get returns the value of that name, empty if there is none.
func (i incoming) Get(name string) string {
	if values := metadata.ValueFromIncomingContext(i.ctx, name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Set does nothing.
func (incoming) Set(string, string) {}

// Keys returns nothing.
func (incoming) Keys() []string { return nil }
