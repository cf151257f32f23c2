package engine

import (
	"context"
	"os"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/child"
	"github.com/captioner/captioner/internal/telemetry/span"
)

// firstFile is the file descriptor of the first inherited file.
const firstFile = 3

// propagator writes what an engine reads of a trace.
var propagator = propagation.TraceContext{}

// call begins the span of a call, and names it in the call's metadata for the
// engine to continue. The caller ends it.
func call(ctx context.Context, method string) (context.Context, trace.Span) {
	method = strings.TrimPrefix(method, "/")
	ctx, s := span.Start(ctx, method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		semconv.RPCSystemNameGRPC, semconv.RPCMethod(method)))
	if s.IsRecording() {
		var headers outgoing
		propagator.Inject(ctx, &headers)
		ctx = metadata.AppendToOutgoingContext(ctx, headers...)
	}
	return ctx, s
}

// outgoing are names and values of a call's metadata. It implements
// OpenTelemetry's carrier for writing.
type outgoing []string

func (o *outgoing) Set(name, value string) { *o = append(*o, name, value) }
func (o *outgoing) Get(string) string      { return "" }
func (o *outgoing) Keys() []string         { return nil }

// relay gives the command a pipe to write spans into and has them read; the
// channel is closed when the other end is.
func (o Options) relay(c *child.Command) (read <-chan struct{}, err error) {
	done := make(chan struct{})
	if o.Relay == nil {
		close(done)
		return done, nil
	}
	from, to, err := os.Pipe()
	if err != nil {
		return nil, captioner.Wrap(captioner.Unavailable, err, "cannot make a pipe for the engine's spans")
	}
	c.Args = append(c.Args, "--traces", strconv.Itoa(firstFile+len(c.Files)))
	c.Files = append(c.Files, to)
	go func() {
		defer close(done)
		defer from.Close()
		o.Relay(from)
	}()
	return done, nil
}
