package relay

import (
	"context"
	"fmt"
	"io"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/captioner/captioner/internal/telemetry/span"
)

// scopeSpans is the number of the field spans in OTLP's ScopeSpans.
const scopeSpans = 2

// Provider makes an engine's spans. It records what belongs to a trace that the
// control plane records, and begins none itself. It implements OpenTelemetry's
// TracerProvider; all of its spans are filed under span.Scope.
type Provider struct {
	embedded.TracerProvider
	*span.Batcher[[]byte] // each span as it is written: bytes are nothing for the garbage collector to follow
}

// NewProvider returns a provider that writes its spans to w. While nobody reads,
// writing waits, and spans for which there is no room are dropped. Shut it down
// to have the last ones written.
func NewProvider(ctx context.Context, w io.Writer, service, version string) (*Provider, error) {
	about, err := resource.New(ctx, resource.WithService(), resource.WithAttributes(
		attribute.String("service.name", service), attribute.String("service.version", version),
	), resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv()) // the environment has the last word
	if err != nil {
		return nil, fmt.Errorf("describe this program to OpenTelemetry: %w", err)
	}
	scope := &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: span.Scope}}
	batch := &tracepb.ResourceSpans{
		Resource:   &resourcepb.Resource{Attributes: keyValues(about.Attributes())},
		ScopeSpans: []*tracepb.ScopeSpans{scope},
	}
	write := func(_ context.Context, spans [][]byte) error { // one at a time
		var fields []byte
		for _, s := range spans {
			fields = protowire.AppendBytes(protowire.AppendTag(fields, scopeSpans, protowire.BytesType), s)
		}
		scope.ProtoReflect().SetUnknown(fields) // which are written as they are
		_, err := protodelim.MarshalTo(w, batch)
		return err
	}
	return &Provider{Batcher: span.NewBatcher(write, span.BatchOptions{})}, nil
}

// Tracer returns the provider's only tracer.
func (p *Provider) Tracer(string, ...trace.TracerOption) trace.Tracer { return tracer{provider: p} }
