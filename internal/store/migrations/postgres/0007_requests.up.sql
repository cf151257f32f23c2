-- What clients have asked for under an idempotency key. key and asked are
-- digests. moved is the generation to which the request has moved an alias, 0 for
-- none; answer is the JSON that its client was told, NULL until then.
CREATE TABLE requests (
    key        TEXT   NOT NULL PRIMARY KEY,
    asked      TEXT   NOT NULL,
    moved      BIGINT NOT NULL DEFAULT 0,
    answer     TEXT,
    created_at BIGINT NOT NULL
);
