-- When the attempt that counts at a piece of work began, in nanoseconds: older
-- ones may change nothing any more.
CREATE TABLE attempts (
    work       TEXT   NOT NULL PRIMARY KEY,
    started_at BIGINT NOT NULL
);
