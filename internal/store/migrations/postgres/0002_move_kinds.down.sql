ALTER TABLE alias_moves DROP COLUMN kind;
