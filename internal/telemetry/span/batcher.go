package span

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// BatchOptions say how a [Batcher] exports; zero fields take the defaults.
type BatchOptions struct {
	// Delay is how long a span waits for others: what a process that is killed
	// takes with it. Default 1 s.
	Delay time.Duration
	// MaxWaiting is how many spans wait; those beyond it are dropped. Default
	// 8192, a second of many requests.
	MaxWaiting int
	// MaxBatch is how many are exported at a time. Default 2048.
	MaxBatch int
	// Timeout bounds an export. Default 30 s.
	Timeout time.Duration
	// Failed is told of an export that failed; nil for nobody.
	Failed func(error)
}

// Batcher gathers spans, in whatever form S, and exports them from time to time.
type Batcher[S any] struct {
	options BatchOptions
	export  func(context.Context, []S) error
	stop    func()
	stopped chan struct{}

	exporting sync.Mutex // held while spans are exported
	mu        sync.Mutex
	spans     []S
}

// NewBatcher returns a batcher that exports by the function, one batch at a time.
func NewBatcher[S any](export func(context.Context, []S) error, o BatchOptions) *Batcher[S] {
	o.Delay = cmp.Or(o.Delay, time.Second)
	o.MaxWaiting = cmp.Or(o.MaxWaiting, 8192)
	o.MaxBatch = cmp.Or(o.MaxBatch, 2048)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	b := &Batcher[S]{options: o, export: export, stop: cancel, stopped: make(chan struct{})}
	go b.run(ctx)
	return b
}

func (b *Batcher[S]) run(ctx context.Context) {
	defer close(b.stopped)
	ticker := time.NewTicker(b.options.Delay)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := b.ForceFlush(ctx); err != nil && ctx.Err() == nil && b.options.Failed != nil {
				b.options.Failed(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Add keeps a span that has ended.
func (b *Batcher[S]) Add(s S) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.spans) < b.options.MaxWaiting {
		b.spans = append(b.spans, s)
	}
}

// ForceFlush exports what has been gathered. What cannot be exported is lost.
func (b *Batcher[S]) ForceFlush(ctx context.Context) error {
	b.exporting.Lock()
	defer b.exporting.Unlock()
	b.mu.Lock()
	spans := b.spans
	b.spans = nil
	b.mu.Unlock()
	for batch := range slices.Chunk(spans, b.options.MaxBatch) {
		if err := b.exportInTime(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (b *Batcher[S]) exportInTime(ctx context.Context, batch []S) error {
	ctx, cancel := context.WithTimeout(ctx, b.options.Timeout)
	defer cancel()
	return b.export(ctx, batch)
}

// Shutdown exports what is left, for as long as ctx lets it. It is called once.
func (b *Batcher[S]) Shutdown(ctx context.Context) error {
	b.stop()
	last := make(chan error, 1)
	go func() {
		<-b.stopped
		last <- b.ForceFlush(ctx)
	}()
	select {
	case err := <-last:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Processor is OpenTelemetry's SpanProcessor around a [Batcher]. It stands in for
// the one that comes with OpenTelemetry, which wakes a goroutine for each span:
// in a process that answers hundreds of requests a second with several spans
// each, that takes as much of the processor as all the rest of tracing; see
// docs/results.md.
type Processor struct {
	*Batcher[sdktrace.ReadOnlySpan]
	exporter sdktrace.SpanExporter
}

// NewProcessor returns a processor in front of the exporter, which it ends.
func NewProcessor(exporter sdktrace.SpanExporter, o BatchOptions) Processor {
	return Processor{Batcher: NewBatcher(exporter.ExportSpans, o), exporter: exporter}
}

// OnStart does nothing.
func (Processor) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd keeps a span that is sampled.
func (p Processor) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		p.Add(s)
	}
}

// Shutdown exports what is left and ends the exporter. It is called once.
func (p Processor) Shutdown(ctx context.Context) error {
	return errors.Join(p.Batcher.Shutdown(ctx), p.exporter.Shutdown(ctx))
}
