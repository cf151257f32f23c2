-- A pinned version keeps its files for good. registered_at is when a run last
-- made the version, deleted_at when retention deleted its files.
ALTER TABLE model_versions ADD COLUMN pinned_at BIGINT;
ALTER TABLE model_versions ADD COLUMN registered_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE model_versions ADD COLUMN deleted_at BIGINT;
UPDATE model_versions SET registered_at = created_at;

-- The keys of kept results and the blobs that a run uses, noted before it reads
-- them.
CREATE TABLE run_uses (
    run_id   TEXT COLLATE "C"   NOT NULL,
    digest   TEXT   NOT NULL,
    noted_at BIGINT NOT NULL,
    PRIMARY KEY (run_id, digest)
);
CREATE INDEX run_uses_of_digest ON run_uses (digest, noted_at);
