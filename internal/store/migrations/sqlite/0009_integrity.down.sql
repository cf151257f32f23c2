ALTER TABLE alias_moves DROP COLUMN record;
ALTER TABLE checkpoints DROP COLUMN previous_step;
ALTER TABLE checkpoints DROP COLUMN previous_blob;
