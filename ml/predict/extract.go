package predict

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry/span"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/images"
)

// Encoder makes the records of a shard from prepared pictures. model.Extractor
// is one, for a frozen encoder.
type Encoder interface {
	// Layout is that of the records.
	Layout() features.Layout
	// Batch is how many pictures Encode takes at most. Encode returns a record
	// for each of the squares, and is safe for concurrent use.
	Batch() int
	Encode(squares [][]byte) ([][]byte, error)
}

// Squares is the Encoder that leaves squares of that side in pixels as they are,
// for an encoder that is yet to be trained.
type Squares int

// Layout implements [Encoder].
func (s Squares) Layout() features.Layout { return features.Pixels(int(s)) }

// Batch implements [Encoder].
func (Squares) Batch() int { return 1 }

// Encode implements [Encoder].
func (Squares) Encode(squares [][]byte) ([][]byte, error) { return squares, nil }

// encoders is how many batches are encoded side by side: the threads within an
// operation are set for two, as tf.NewSession says.
const encoders = 2

// ExtractFeatures prepares the pictures of a shard with p, on req.Threads
// goroutines, has e encode them in the meantime, and writes them in the order of
// the request. What cannot be decoded is left out and listed with a reason, in
// the same order; equal pictures give equal bytes, whatever the number of
// threads. progress, which may be nil, gets the number of pictures done, from
// one goroutine. A few batches are in memory at a time.
//
// Files are read below req.ImagesDir only, also where a link leads out of it.
func ExtractFeatures(ctx context.Context, p Preprocessor, e Encoder, req captioner.ExtractRequest, progress func(done int)) (result captioner.ExtractResult, err error) {
	ctx, extract := span.Start(ctx, "extract shard", trace.WithAttributes(attribute.Int("captioner.images", len(req.Images))))
	defer func() {
		extract.SetAttributes(attribute.Int("captioner.quarantined", len(result.Quarantine)))
		span.End(extract, err)
	}()
	root, err := os.OpenRoot(req.ImagesDir)
	if err != nil {
		return result, captioner.Wrap(captioner.NotFound, err, "the images folder cannot be opened")
	}
	defer root.Close()
	shard, err := features.Create(req.Output, e.Layout())
	if err != nil {
		return result, err
	}
	defer func() {
		if err != nil {
			shard.Abort()
		}
	}()

	ctx, cancel := context.WithCancel(ctx)
	threads := max(1, req.Threads)
	prepared, waitPrepared := inOrder(ctx, threads, slices.Values(req.Images), func(name string) square {
		return prepareFile(p, root, name, req.MaxPixels)
	})
	encoded, waitEncoded := inOrder(ctx, min(threads, encoders), batches(prepared, e.Batch()), func(batch []square) []square {
		return encodeBatch(e, batch)
	})
	// They run after cancel: nothing uses p and e once this function has returned.
	defer waitPrepared()
	defer waitEncoded()
	defer cancel()
	done := 0
	for next := range encoded {
		for _, s := range <-next {
			if s.fatal != nil {
				return result, s.fatal
			}
			if s.problem != nil {
				result.Quarantine = append(result.Quarantine, *s.problem)
			} else {
				if err := shard.Add(req.Images[done], s.record); err != nil {
					return result, err
				}
				result.Images = append(result.Images, req.Images[done])
			}
			done++
			if progress != nil {
				progress(done)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return result, err
	}
	return result, shard.Close()
}

// batches takes the prepared pictures as they come, size at a time.
func batches(prepared <-chan chan square, size int) iter.Seq[[]square] {
	return func(yield func([]square) bool) {
		var batch []square
		for next := range prepared {
			if batch = append(batch, <-next); len(batch) == size {
				if !yield(batch) {
					return
				}
				batch = nil
			}
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

// encodeBatch turns the pixels of those squares that have some into records.
func encodeBatch(e Encoder, batch []square) []square {
	var pixels [][]byte
	var owners []int // pixels[i] are those of batch[owners[i]]
	for i, s := range batch {
		if s.record != nil {
			pixels, owners = append(pixels, s.record), append(owners, i)
		}
	}
	if len(pixels) == 0 {
		return batch
	}
	records, err := e.Encode(pixels)
	for i, owner := range owners {
		if err != nil {
			batch[owner] = square{fatal: err}
		} else {
			batch[owner].record = records[i]
		}
	}
	return batch
}

// square is one picture's outcome: exactly one field is set.
type square struct {
	record  []byte // pixels, and then what the encoder makes of them
	problem *captioner.Quarantined
	fatal   error // about more than this picture
}

// prepareFile reads and prepares one picture.
func prepareFile(p Preprocessor, root *os.Root, name string, maxPixels int) square {
	data, err := root.ReadFile(filepath.FromSlash(name))
	if errors.Is(err, os.ErrNotExist) {
		return quarantined(name, "missing", "the file is not there any more")
	}
	if err != nil {
		return quarantined(name, "unreadable", "the file cannot be read")
	}
	pixels, _, err := prepare(p, data, maxPixels)
	if captioner.KindOf(err) == captioner.Invalid {
		return quarantined(name, images.Reason(err), message(err))
	}
	return square{record: pixels, fatal: err}
}

// message returns the sentence of an error that is meant for a person.
func message(err error) string {
	var e *captioner.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return ""
}

func quarantined(name, reason, detail string) square {
	return square{problem: &captioner.Quarantined{Image: name, Reason: reason, Detail: detail}}
}

// inOrder does work on each of the inputs, on that many goroutines, and delivers
// a channel for each, in order, which gets its outcome. At most a few outcomes
// wait to be taken. The end of ctx ends it early; wait returns when no work runs
// any more.
func inOrder[In, Out any](ctx context.Context, workers int, inputs iter.Seq[In], work func(In) Out) (_ <-chan chan Out, wait func()) {
	type task struct {
		in   In
		done chan Out
	}
	tasks := make(chan task)
	ordered := make(chan chan Out, 2*workers)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for t := range tasks {
				t.done <- work(t.in)
			}
		})
	}
	running.Go(func() {
		defer close(ordered)
		defer close(tasks)
		for in := range inputs {
			t := task{in, make(chan Out, 1)}
			select {
			case tasks <- t:
			case <-ctx.Done():
				return
			}
			select {
			case ordered <- t.done:
			case <-ctx.Done():
				return
			}
		}
	})
	return ordered, running.Wait
}
