-- The checkpoint before the latest, for when that one is damaged; '' for none.
ALTER TABLE checkpoints ADD COLUMN previous_blob TEXT NOT NULL DEFAULT '';
ALTER TABLE checkpoints ADD COLUMN previous_step BIGINT NOT NULL DEFAULT 0;

-- The digest of the move as it is written down, which names that of the move
-- before: whatever changes in the log, the digests after it no longer fit. Moves
-- of before have none; that of the first one after them covers them.
ALTER TABLE alias_moves ADD COLUMN record TEXT NOT NULL DEFAULT '';
