package server

import (
	"context"
	"os"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"

	"github.com/captioner/captioner/internal/engine/wire"
	"github.com/captioner/captioner/internal/telemetry/relay"
)

// serviceName is what the engine's spans are filed under.
const serviceName = "captioner-engine"

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
	return grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(provider),
		otelgrpc.WithMeterProvider(noopmetric.NewMeterProvider()),
		otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithFilter(wire.Traced),
	)), flush, nil
}
