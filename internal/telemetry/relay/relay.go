// Package relay carries an engine's spans to its control plane. An engine knows
// no network, so it writes them into a pipe that it has inherited, and the
// control plane, which knows where traces go, sends them on. What flows is
// OpenTelemetry's own message, each with its length before it.
package relay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/captioner/captioner/internal/telemetry/span"
)

// maxMessageBytes bounds a message; a batch of 2048 spans has some MiB.
const maxMessageBytes = 64 << 20

// NewProvider returns a provider that writes its spans to w. It records what
// belongs to a trace that the control plane records, and begins none itself.
// Shut it down to have the last spans written.
func NewProvider(ctx context.Context, w io.Writer, service, version string) (*sdktrace.TracerProvider, error) {
	exporter, err := otlptrace.New(ctx, &writer{w: w})
	if err != nil {
		return nil, fmt.Errorf("prepare to write spans: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", service), attribute.String("service.version", version),
	), resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv()) // the environment has the last word
	if err != nil {
		return nil, fmt.Errorf("describe this program to OpenTelemetry: %w", err)
	}
	return sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(span.NewBatcher(exporter, span.BatchOptions{})),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())),
		sdktrace.WithIDGenerator(span.IDs{}),
		sdktrace.WithResource(about),
	), nil
}

// writer is an otlptrace.Client whose collector is a pipe. While nobody reads
// it, writing waits, and the batcher drops what it has no room for.
type writer struct {
	mu sync.Mutex
	w  io.Writer
}

func (*writer) Start(context.Context) error { return nil }
func (*writer) Stop(context.Context) error  { return nil }

func (w *writer) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := protodelim.MarshalTo(w.w, &tracepb.TracesData{ResourceSpans: spans})
	return err
}

// Read hands on each batch of spans that comes out of r, until the writer has
// ended. A message that was cut off by the writer's death is dropped.
func Read(r io.Reader, handle func([]*tracepb.ResourceSpans)) error {
	options := protodelim.UnmarshalOptions{MaxSize: maxMessageBytes}
	in := bufio.NewReader(r)
	for {
		var message tracepb.TracesData
		err := options.UnmarshalFrom(in, &message)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("read an engine's spans: %w", err)
		}
		handle(message.GetResourceSpans())
	}
}
