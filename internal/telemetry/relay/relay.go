// Package relay carries an engine's spans to its control plane. An engine knows
// no network, so it writes them into a pipe that it has inherited, and the
// control plane, which knows where traces go, sends them on. What flows is
// OTLP's ResourceSpans, each with its length before it. It is made once, by the
// engine, a field with each thing that a span is told ([Provider]), and passed
// on as it came ([Read]): what OpenTelemetry's own provider, exporter and
// decoder do for each span costs more than all that a caption's trace may.
package relay

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/types/known/emptypb"
)

// maxMessageBytes bounds a message; a batch of 2048 spans has some MiB.
const maxMessageBytes = 64 << 20

// Read hands on each batch of spans that comes out of r, until the writer has
// ended. A message that was cut off by the writer's death is dropped. The spans
// are not decoded: all of a batch is in its unknown fields, which protobuf
// writes as they are.
func Read(r io.Reader, handle func(*tracepb.ResourceSpans)) error {
	options := protodelim.UnmarshalOptions{MaxSize: maxMessageBytes}
	in := bufio.NewReader(r)
	for {
		var raw emptypb.Empty // to which every field is unknown
		err := options.UnmarshalFrom(in, &raw)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("read an engine's spans: %w", err)
		}
		batch := new(tracepb.ResourceSpans)
		batch.ProtoReflect().SetUnknown(raw.ProtoReflect().GetUnknown())
		handle(batch)
	}
}
