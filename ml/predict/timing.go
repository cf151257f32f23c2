package predict

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/captioner/captioner/internal/telemetry/span"
)

// maxStepEvents bounds the events of a decoding's span; captions have some 15
// steps.
const maxStepEvents = 64

// timing is when a batch began and when its parts ended; a zero time is of one
// that did not.
type timing struct {
	begun, encoded, decoded time.Time
	steps                   []time.Time // when each step of the decoder began
}

// record makes the spans of a request from those of its batch: a batch may
// hold several requests, and each has a trace of its own.
func (t timing) record(w *work, batch int) {
	if !span.Recording(w.ctx) {
		return
	}
	span.Past(w.ctx, "queue", w.queued, t.begun)
	if t.encoded.IsZero() {
		return
	}
	pictures := attribute.Int("captioner.batch.images", batch)
	span.Past(w.ctx, "encode", t.begun, t.encoded, pictures)
	if t.decoded.IsZero() {
		return
	}
	_, decode := span.Start(w.ctx, "decode", trace.WithTimestamp(t.encoded), trace.WithAttributes(pictures,
		attribute.String("captioner.algorithm", w.job.Algorithm), attribute.Int("captioner.beam_width", w.job.BeamWidth),
		attribute.Int("captioner.decode.steps", len(t.steps))))
	span.Events(decode, "step", t.steps[:min(len(t.steps), maxStepEvents)])
	span.EndAt(decode, nil, t.decoded)
}
