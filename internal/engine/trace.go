package engine

import (
	"os"
	"slices"
	"strconv"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/child"
	"github.com/captioner/captioner/internal/engine/wire"
)

// firstFile is the file descriptor of the first inherited file.
const firstFile = 3

// dialOptions are the client's, with spans of its calls where the engine is to
// continue them.
func (o Options) dialOptions() []grpc.DialOption {
	if o.Relay == nil {
		return o.Dial
	}
	return append(slices.Clone(o.Dial), grpc.WithStatsHandler(otelgrpc.NewClientHandler(
		otelgrpc.WithTracerProvider(o.TracerProvider),
		otelgrpc.WithMeterProvider(noopmetric.NewMeterProvider()),
		otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithFilter(wire.Traced),
	)))
}

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
