package telemetry

import (
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
)

const (
	// predictSpan is the name of a prediction's first span; see api/trace.go.
	predictSpan = "POST /predict"
	// maxPredictions is how many predictions a second are traced. Whoever looks for
	// one among more finds others like it, and what all are like; what tracing
	// costs has a bound then, however busy a server is.
	maxPredictions = 100
)

// sampler records every trace that begins here, except for predictions beyond
// maxPredictions a second.
type sampler struct{ predictions *rate.Limiter }

func newSampler() sampler {
	return sampler{rate.NewLimiter(maxPredictions, maxPredictions)}
}

// ShouldSample implements OpenTelemetry's Sampler.
func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	result := sdktrace.SamplingResult{
		Decision: sdktrace.RecordAndSample, Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState(),
	}
	if p.Name == predictSpan && !s.predictions.Allow() {
		result.Decision = sdktrace.Drop
	}
	return result
}

// Description implements OpenTelemetry's Sampler.
func (s sampler) Description() string { return "captioner" }
