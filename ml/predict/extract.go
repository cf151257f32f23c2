package predict

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry/span"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/images"
)

// ExtractFeatures prepares the pictures of a shard with p, on req.Threads
// goroutines, and writes them in the order of the request. What cannot be
// decoded is left out and listed with a reason, in the same order; equal
// pictures give equal bytes, whatever the number of threads. progress, which
// may be nil, gets the number of pictures done, from one goroutine.
//
// side is that of p's squares. Files are read below req.ImagesDir only, also
// where a link leads out of it.
func ExtractFeatures(ctx context.Context, p Preprocessor, side int, req captioner.ExtractRequest, progress func(done int)) (result captioner.ExtractResult, err error) {
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
	shard, err := features.Create(req.Output, features.Pixels(side))
	if err != nil {
		return result, err
	}
	defer func() {
		if err != nil {
			shard.Abort()
		}
	}()

	ctx, cancel := context.WithCancel(ctx)
	squares, wait := prepareInOrder(ctx, max(1, req.Threads), len(req.Images), func(i int) square {
		return prepareFile(p, root, req.Images[i], req.MaxPixels)
	})
	defer wait() // runs after cancel: nothing uses p once this function has returned
	defer cancel()
	done := 0
	for next := range squares {
		s := <-next
		if s.fatal != nil {
			return result, s.fatal
		}
		if s.problem != nil {
			result.Quarantine = append(result.Quarantine, *s.problem)
		} else {
			if err := shard.Add(req.Images[done], s.pixels); err != nil {
				return result, err
			}
			result.Images = append(result.Images, req.Images[done])
		}
		done++
		if progress != nil {
			progress(done)
		}
	}
	if err := ctx.Err(); err != nil {
		return result, err
	}
	return result, shard.Close()
}

// square is one picture's outcome: exactly one field is set.
type square struct {
	pixels  []byte
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
	return square{pixels: pixels, fatal: err}
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

// prepareInOrder runs work(0) to work(n-1) on that many threads and delivers
// a channel for each, in order, which gets its outcome. At most a few outcomes
// wait to be taken. The end of ctx ends it early; wait returns when no work
// runs any more.
func prepareInOrder(ctx context.Context, threads, n int, work func(i int) square) (_ <-chan chan square, wait func()) {
	type task struct {
		i    int
		done chan square
	}
	tasks := make(chan task)
	ordered := make(chan chan square, 2*threads)
	var running sync.WaitGroup
	for range threads {
		running.Go(func() {
			for t := range tasks {
				t.done <- work(t.i)
			}
		})
	}
	running.Go(func() {
		defer close(ordered)
		defer close(tasks)
		for i := range n {
			t := task{i, make(chan square, 1)}
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
