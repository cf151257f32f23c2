-- Moves of before are told as promotions: which of them undid one was not kept.
ALTER TABLE alias_moves ADD COLUMN kind TEXT NOT NULL DEFAULT 'promote';
