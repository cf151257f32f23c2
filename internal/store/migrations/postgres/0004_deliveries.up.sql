-- How much of each run a tracking server has. sequence is the number of the
-- last metric that it was given, finished_at the end of the run of which it has
-- everything. What it has refused for good is not offered again.
CREATE TABLE deliveries (
    server      TEXT   NOT NULL,
    run_id      TEXT   NOT NULL REFERENCES runs (id),
    tracked_run TEXT   NOT NULL,
    url         TEXT   NOT NULL,
    run_key     TEXT   NOT NULL,
    sequence    BIGINT NOT NULL,
    finished_at BIGINT,
    refused     TEXT   NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (server, run_id)
);
CREATE INDEX deliveries_of_run ON deliveries (run_id, updated_at);

-- Work that one process does at a time.
CREATE TABLE leases (
    name       TEXT   NOT NULL PRIMARY KEY,
    holder     TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);
