package engine_test

import (
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/engine"
	"github.com/captioner/captioner/internal/telemetry/relay"
)

// TestTrace: a call is continued in the engine, whose spans have all arrived
// when it is closed; its start is nobody's trace.
func TestTrace(t *testing.T) {
	var mu sync.Mutex
	relayed := map[string]*tracepb.Span{} // by name
	o, _ := options(t, "")
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	o.Relay = func(r io.Reader) {
		err := relay.Read(r, func(batch *tracepb.ResourceSpans) {
			mu.Lock()
			defer mu.Unlock()
			data, err := proto.Marshal(batch)
			decoded := new(tracepb.ResourceSpans)
			if err = errors.Join(err, proto.Unmarshal(data, decoded)); err != nil {
				t.Error(err)
			}
			for _, scope := range decoded.GetScopeSpans() {
				for _, s := range scope.GetSpans() {
					relayed[s.GetName()] = s
				}
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
	m, err := engine.OpenModel(t.Context(), o, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, request := provider.Tracer("test").Start(t.Context(), "POST /predict")
	if _, err := m.Caption(ctx, captioner.CaptionRequest{Images: []captioner.ImageInput{{Data: []byte("picture")}}}); err != nil {
		t.Fatal(err)
	}
	request.End()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}

	const call = "captioner.engine.v1.Engine/Caption"
	mine := spans.GetSpans()
	if len(mine) != 2 || mine[0].Name != call || mine[0].Parent.SpanID() != request.SpanContext().SpanID() {
		t.Fatalf("spans of this side %+v, want the call below the request", mine)
	}
	decode := relayed["decode"]
	if len(relayed) != 1 || decode == nil {
		t.Fatalf("spans of the engine %v, want the decoding", relayed)
	}
	if got := hex.EncodeToString(decode.GetParentSpanId()); got != mine[0].SpanContext.SpanID().String() {
		t.Errorf("the parent of the decoding is %s, want the call, %s", got, mine[0].SpanContext.SpanID())
	}
}
