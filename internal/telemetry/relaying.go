package telemetry

import (
	"context"
	"io"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/captioner/captioner/internal/telemetry/relay"
)

const (
	// maxRelayed is how many batches of engines' spans wait to be sent; a
	// collector that is away costs those beyond it, and nobody's time.
	maxRelayed = 64
	// relayTimeout bounds the sending of one.
	relayTimeout = 10 * time.Second
)

// relaying sends engines' spans to where this process sends its own.
type relaying struct {
	provider *sdktrace.TracerProvider
	client   otlptrace.Client
	logger   *slog.Logger
	waiting  chan *tracepb.ResourceSpans
	stop     chan struct{}
	stopped  chan struct{}
}

func newRelaying(provider *sdktrace.TracerProvider, client otlptrace.Client, logger *slog.Logger) *relaying {
	r := &relaying{
		provider: provider, client: client, logger: logger,
		waiting: make(chan *tracepb.ResourceSpans, maxRelayed), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go r.run()
	return r
}

// Relay returns what reads the spans of an engine, until the engine ends, and
// has them sent; nil where nothing is exported.
func (t *Telemetry) Relay() func(io.Reader) {
	if t.relay == nil {
		return nil
	}
	return t.relay.read
}

func (r *relaying) read(from io.Reader) {
	err := relay.Read(from, func(spans *tracepb.ResourceSpans) {
		select {
		case r.waiting <- spans:
		default:
			r.logger.Warn("spans of an engine were dropped: the collector is too slow or away")
		}
	})
	if err != nil {
		r.logger.Warn("the spans of an engine can no longer be read", "error", err)
	}
}

func (r *relaying) run() {
	defer close(r.stopped)
	for {
		select {
		case spans := <-r.waiting:
			r.send(spans)
		case <-r.stop:
			for len(r.waiting) > 0 {
				r.send(<-r.waiting)
			}
			return
		}
	}
}

// send sends a batch, and before it what this process has recorded: the spans
// above those of the engine must not be lost where these are not.
func (r *relaying) send(spans *tracepb.ResourceSpans) {
	ctx, cancel := context.WithTimeout(context.Background(), relayTimeout)
	defer cancel()
	err := r.provider.ForceFlush(ctx)
	if err == nil {
		err = r.client.UploadTraces(ctx, []*tracepb.ResourceSpans{spans})
	}
	if err != nil {
		r.logger.Warn("spans of an engine could not be delivered", "error", err)
	}
}

// shutdown sends what waits, for as long as ctx lets it.
func (r *relaying) shutdown(ctx context.Context) error {
	close(r.stop)
	select {
	case <-r.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
