package predict

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/decode"
	"github.com/captioner/captioner/ml/features"
)

// maxBatch is how many pictures are decoded together: enough to keep the
// matrix products busy, few enough that a beam of 10 over them stays small.
const maxBatch = 32

// job is how pictures are captioned; those with equal ones can share a batch.
type job struct {
	decode.Options
	// layout is that of the pictures' records: of pixels, or of what the model's
	// encoder has made of them already.
	layout features.Layout
}

// captionFunc captions a batch of prepared pictures.
type captionFunc func(ctx context.Context, records [][]byte, job job) ([][]captioner.Hypothesis, timing, error)

// batcher runs one batch at a time, with whatever has come in while the last
// one ran: a lone request waits for nothing, and many at once share the steps.
type batcher struct {
	run   captionFunc
	queue chan *work
	done  sync.WaitGroup
}

// work is a request's share of a batch.
type work struct {
	ctx     context.Context
	queued  time.Time
	records [][]byte
	job     job
	reply   chan workReply // has room for the one reply
}

type workReply struct {
	hypotheses [][]captioner.Hypothesis
	batch      int // pictures that were captioned together
	timing     timing
	err        error
}

func newBatcher(run captionFunc) *batcher {
	b := &batcher{run: run, queue: make(chan *work, maxBatch)}
	b.done.Go(b.loop)
	return b
}

// close ends the batcher, once all calls have returned.
func (b *batcher) close() {
	close(b.queue)
	b.done.Wait()
}

// caption returns the hypotheses of each picture, at most maxBatch of them.
func (b *batcher) caption(ctx context.Context, records [][]byte, job job) (workReply, error) {
	w := &work{ctx: ctx, queued: time.Now(), records: records, job: job, reply: make(chan workReply, 1)}
	select {
	case b.queue <- w:
	case <-ctx.Done():
		return workReply{}, ctx.Err()
	}
	select {
	case r := <-w.reply:
		r.timing.record(w, r.batch) // here, where nobody else waits for it
		return r, r.err
	case <-ctx.Done():
		return workReply{}, ctx.Err()
	}
}

// loop takes work in the order in which it came.
func (b *batcher) loop() {
	var next *work // taken from the queue, and not fit for the batch before it
	for {
		first := next
		if first == nil {
			var open bool
			if first, open = <-b.queue; !open {
				return
			}
		}
		var batch []*work
		batch, next = b.gather(first)
		b.process(batch)
	}
}

// gather adds to first what waits, as long as it has the same options and room.
func (b *batcher) gather(first *work) (batch []*work, next *work) {
	batch, size := []*work{first}, len(first.records)
	for size < maxBatch {
		select {
		case w, open := <-b.queue:
			if !open {
				return batch, nil
			}
			if w.job != first.job || size+len(w.records) > maxBatch {
				return batch, w
			}
			batch, size = append(batch, w), size+len(w.records)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

// process captions a batch and hands each work its part.
func (b *batcher) process(batch []*work) {
	ctx, cancel := untilAllEnd(batch)
	defer cancel()
	var records [][]byte
	for _, w := range batch {
		records = append(records, w.records...)
	}
	begun := time.Now()
	hypotheses, times, err := b.guarded(ctx, records, batch[0].job)
	times.begun = begun
	for _, w := range batch {
		r := workReply{batch: len(records), timing: times, err: err}
		if err == nil {
			r.hypotheses, hypotheses = hypotheses[:len(w.records)], hypotheses[len(w.records):]
		}
		w.reply <- r
	}
}

// guarded turns a panic into an error of this batch: it runs on a goroutine of
// its own, where a panic would end the process.
func (b *batcher) guarded(ctx context.Context, records [][]byte, job job) (_ [][]captioner.Hypothesis, _ timing, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = captioner.Wrap(captioner.Internal, fmt.Errorf("panic: %v\n%s", reason, debug.Stack()), "captioning failed")
		}
	}()
	return b.run(ctx, records, job)
}

// untilAllEnd returns a context that ends when nobody waits for the batch any
// more.
func untilAllEnd(batch []*work) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(batch[0].ctx))
	var waiting atomic.Int64
	waiting.Store(int64(len(batch)))
	stops := make([]func() bool, len(batch))
	for i, w := range batch {
		stops[i] = context.AfterFunc(w.ctx, func() {
			if waiting.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}
