package server

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/captioner/captioner/internal/interrupt"
)

// Run serves on the Unix socket until ctx ends, then stops as [Server.Stop]
// does. It returns the reason when the backend could not be opened.
func (s *Server) Run(ctx context.Context, socket string) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listen on the engine's socket: %w", err)
	}
	stopped := make(chan struct{})
	finished, finish := context.WithCancel(ctx)
	go func() {
		defer close(stopped)
		<-finished.Done()
		s.Stop()
	}()
	err = s.Serve(listener)
	finish()
	<-stopped
	return err
}

// UntilParentEnds returns a context that ends when the process is asked to:
// by SIGTERM or SIGINT, or by the end of input, its standard input, which the
// parent holds open as long as it lives. A second signal ends the process at
// once.
func UntilParentEnds(input io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := interrupt.Context(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, input)
		cancel()
	}()
	return ctx, cancel
}
