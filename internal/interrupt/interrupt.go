// Package interrupt turns the signals that ask a process to end into the end of a
// context.
package interrupt

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Context returns a context that ends with the first SIGINT or SIGTERM, for
// work to be ended in order. A second one, however soon, ends the process as it
// would have without this function. stop ends the context and gives the signals back.
func Context(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2) // both find room, whoever is awake
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	stopped := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel()
		case <-stopped:
			return
		}
		select {
		case second := <-signals:
			signal.Reset(second)
			_ = syscall.Kill(os.Getpid(), second.(syscall.Signal)) // one that a process sends itself never fails
		case <-stopped:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(stopped)
		cancel()
	})
}
