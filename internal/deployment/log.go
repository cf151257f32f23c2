package deployment

import (
	"bytes"
	"context"
	"log/slog"
	"slices"

	"github.com/captioner/captioner"
)

// KeepLog returns the store with its deployment log kept a second time: after each
// move the record of it is a blob, which names the record of the move before. What
// the database loses or changes of the log is found and mended from there.
func KeepLog(store captioner.Store, blobs captioner.BlobStore, logger *slog.Logger) captioner.Store {
	return &keptLog{store, blobs, logger}
}

type keptLog struct {
	captioner.Store
	blobs  captioner.BlobStore
	logger *slog.Logger
}

// MoveAlias implements captioner.Store.
func (k *keptLog) MoveAlias(ctx context.Context, name string, version captioner.Digest, generation int64, actor, reason string) (captioner.Alias, error) {
	return k.keep(ctx)(k.Store.MoveAlias(ctx, name, version, generation, actor, reason))
}

// RollBackAlias implements captioner.Store.
func (k *keptLog) RollBackAlias(ctx context.Context, name string, version captioner.Digest, generation int64, actor, reason string) (captioner.Alias, error) {
	return k.keep(ctx)(k.Store.RollBackAlias(ctx, name, version, generation, actor, reason))
}

// MoveAliasFor implements captioner.Store.
func (k *keptLog) MoveAliasFor(ctx context.Context, request captioner.Digest, m captioner.AliasMove) (captioner.Alias, error) {
	return k.keep(ctx)(k.Store.MoveAliasFor(ctx, request, m))
}

// keep passes a move on, and stores the log where there was one. The move stands
// whatever becomes of its record: the next one, or a repair, stores it too.
func (k *keptLog) keep(ctx context.Context) func(captioner.Alias, error) (captioner.Alias, error) {
	return func(moved captioner.Alias, err error) (captioner.Alias, error) {
		if err != nil {
			return moved, err
		}
		if err := k.store(context.WithoutCancel(ctx), moved.Name); err != nil {
			k.logger.Warn("the deployment is in the database only: its record could not be stored as a blob", "generation", moved.Generation, "error", err)
		}
		return moved, nil
	}
}

// store stores the records that are no blobs yet, the last ones.
func (k *keptLog) store(ctx context.Context, name string) error {
	moves, err := k.AliasMoves(ctx, name, 0)
	if err != nil {
		return err
	}
	slices.Reverse(moves)
	records, digests, err := captioner.ChainMoves(moves)
	if err != nil {
		return err
	}
	first := len(records)
	for first > 0 {
		if there, err := k.blobs.Has(ctx, digests[first-1]); err != nil {
			return err
		} else if there {
			break
		}
		first--
	}
	// In order, so that whoever stops half way leaves no gap behind a newer one.
	for _, r := range records[first:] {
		data, err := r.Encode()
		if err != nil {
			return err
		}
		if _, _, err := k.blobs.Put(ctx, bytes.NewReader(data)); err != nil {
			return err
		}
	}
	return nil
}
