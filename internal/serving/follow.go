package serving

import (
	"context"
	"time"

	"github.com/captioner/captioner"
)

// storeTimeout bounds one question to the database, so that one that hangs
// costs a heartbeat and not the replica.
const storeTimeout = 2 * time.Second

// follow reads the alias and records a heartbeat, again and again, until ctx
// ends; then it forgets this replica.
func (s *Server) follow(ctx context.Context) {
	ticker := time.NewTicker(s.opts.PollInterval)
	defer ticker.Stop()
	away := false // the last contact failed and has been logged
	for {
		err := s.poll(ctx)
		if err == nil {
			err = s.heartbeat(ctx)
		}
		if ctx.Err() == nil {
			away = s.logContact(away, err)
		}

		select {
		case <-ticker.C:
		case <-s.beat:
		case <-ctx.Done():
			s.forget(ctx)
			return
		}
	}
}

// poll reads the alias. A database that is away changes nothing.
func (s *Server) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	alias, err := s.opts.Store.Alias(ctx, captioner.Production)
	if captioner.KindOf(err) == captioner.NotFound {
		alias, err = captioner.Alias{Name: captioner.Production}, nil
	}
	if err == nil {
		s.setTarget(alias)
	}
	return err
}

// setTarget makes alias the one to be served. An alias that is gone, as in a
// database that was just emptied, leaves what is live alone.
func (s *Server) setTarget(alias captioner.Alias) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aliasRead && (alias == s.target || alias.Version == "") {
		return
	}
	if alias.Version != s.target.Version {
		s.failure = "" // it was about the target before
	}
	s.target, s.aliasRead = alias, true
	s.change()
	signal(s.wake)
}

func (s *Server) heartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return s.opts.Store.SeeReplica(ctx, s.Replica())
}

// forget removes the replica after ctx has ended.
func (s *Server) forget(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := s.opts.Store.ForgetReplica(ctx, s.opts.ReplicaID); err != nil {
		s.opts.Logger.Warn("could not take this replica off the list; it will expire", "error", err)
	}
}

// logContact logs when the database goes away and when it is back, once each.
func (s *Server) logContact(away bool, err error) bool {
	switch {
	case err != nil && !away:
		s.opts.Logger.Warn("the database is away, serving what is live", "error", err)
	case err == nil && away:
		s.opts.Logger.Info("the database is back")
	}
	return err != nil
}
