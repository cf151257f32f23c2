DROP TABLE run_uses;
ALTER TABLE model_versions DROP COLUMN deleted_at;
ALTER TABLE model_versions DROP COLUMN registered_at;
ALTER TABLE model_versions DROP COLUMN pinned_at;
