package relay_test

import (
	"bytes"
	"testing"

	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/captioner/captioner/internal/telemetry/relay"
)

// TestRead: whole batches come through, one that was cut off by its writer's
// death is dropped, and what is no batch at all is an error.
func TestRead(t *testing.T) {
	var pipe bytes.Buffer
	provider, err := relay.NewProvider(t.Context(), &pipe, "captioner-engine", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	remote := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	}))
	for range 2 {
		_, s := provider.Tracer("test").Start(remote, "decode")
		s.End()
		if err := provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole := pipe.Bytes()
	read := func(data []byte) (spans int, err error) {
		err = relay.Read(bytes.NewReader(data), func(batch []*tracepb.ResourceSpans) {
			for _, of := range batch {
				spans += len(of.GetScopeSpans()[0].GetSpans())
			}
		})
		return spans, err
	}
	for name, test := range map[string]struct {
		data  []byte
		spans int
	}{"whole": {whole, 2}, "cut off": {whole[:len(whole)-1], 1}, "cut off in a length": {append(bytes.Clone(whole), 0x80), 2}, "nothing": {nil, 0}} {
		if n, err := read(test.data); n != test.spans || err != nil {
			t.Errorf("%s: %d spans, %v; want %d", name, n, err, test.spans)
		}
	}
	if _, err := read([]byte{2, 0xff, 0xff}); err == nil {
		t.Error("what is no batch was read without an error")
	}
}
