package span

import (
	"cmp"
	"context"
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

// Batcher gathers spans and exports them from time to time. It stands in for
// OpenTelemetry's own, which wakes a goroutine for each span: in a process that
// answers hundreds of requests a second with several spans each, that takes as
// much of the processor as all the rest of tracing; see docs/results.md.
type Batcher struct {
	options  BatchOptions
	exporter sdktrace.SpanExporter
	stop     func()
	stopped  chan struct{}

	exporting sync.Mutex // held while spans are exported
	mu        sync.Mutex
	spans     []sdktrace.ReadOnlySpan
}

// NewBatcher returns a batcher in front of the exporter, which it ends.
func NewBatcher(exporter sdktrace.SpanExporter, o BatchOptions) *Batcher {
	o.Delay = cmp.Or(o.Delay, time.Second)
	o.MaxWaiting = cmp.Or(o.MaxWaiting, 8192)
	o.MaxBatch = cmp.Or(o.MaxBatch, 2048)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	b := &Batcher{options: o, exporter: exporter, stop: cancel, stopped: make(chan struct{})}
	go b.run(ctx)
	return b
}

func (b *Batcher) run(ctx context.Context) {
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

// OnStart does nothing.
func (*Batcher) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd keeps a span that is sampled.
func (b *Batcher) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.spans) < b.options.MaxWaiting {
		b.spans = append(b.spans, s)
	}
}

// ForceFlush exports what has been gathered. What cannot be exported is lost.
func (b *Batcher) ForceFlush(ctx context.Context) error {
	b.exporting.Lock()
	defer b.exporting.Unlock()
	b.mu.Lock()
	spans := b.spans
	b.spans = nil
	b.mu.Unlock()
	for batch := range slices.Chunk(spans, b.options.MaxBatch) {
		if err := b.export(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (b *Batcher) export(ctx context.Context, batch []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithTimeout(ctx, b.options.Timeout)
	defer cancel()
	return b.exporter.ExportSpans(ctx, batch)
}

// Shutdown exports what is left and ends the exporter. It is called once.
func (b *Batcher) Shutdown(ctx context.Context) error {
	b.stop()
	<-b.stopped
	if err := b.ForceFlush(ctx); err != nil {
		return err
	}
	return b.exporter.Shutdown(ctx)
}
