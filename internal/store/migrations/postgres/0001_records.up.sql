-- The tables of SQLite's migration of the same number, in PostgreSQL's types.
-- Times are microseconds since 1970-01-01 UTC. Digests are lower-case
-- hexadecimal. What is sorted or searched by its beginning is compared byte by
-- byte, as SQLite does, whatever the collation of the database.

CREATE TABLE step_results (
    key        TEXT   NOT NULL PRIMARY KEY,
    step       TEXT   NOT NULL,
    output     BYTEA  NOT NULL,
    created_at BIGINT NOT NULL
);

-- One row per training. attempt is the newest number that was handed out or
-- has written; metric_sequence is the number of the last metric written.
CREATE TABLE trainings (
    run_key         TEXT   NOT NULL PRIMARY KEY,
    attempt         BIGINT NOT NULL,
    metric_sequence BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE checkpoints (
    run_key    TEXT   NOT NULL PRIMARY KEY REFERENCES trainings (run_key),
    attempt    BIGINT NOT NULL,
    blob       TEXT   NOT NULL,
    step       BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- A NULL value is one that is not a number.
CREATE TABLE metrics (
    run_key  TEXT   NOT NULL REFERENCES trainings (run_key),
    name     TEXT   NOT NULL,
    step     BIGINT NOT NULL,
    value    DOUBLE PRECISION,
    time     BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (run_key, name, step)
);
CREATE UNIQUE INDEX metrics_in_order ON metrics (run_key, sequence);

CREATE TABLE runs (
    id          TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    config      BYTEA  NOT NULL,
    created_at  BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    finished_at BIGINT,
    result      BYTEA,
    message     TEXT   NOT NULL
);
CREATE INDEX runs_newest ON runs (created_at, id);

CREATE TABLE model_versions (
    version    TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    run_id     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    evaluation BYTEA  NOT NULL,
    lineage    BYTEA  NOT NULL,
    training   BYTEA  NOT NULL
);
CREATE INDEX model_versions_newest ON model_versions (created_at, version);

CREATE TABLE aliases (
    name       TEXT   NOT NULL PRIMARY KEY,
    version    TEXT   NOT NULL REFERENCES model_versions (version),
    generation BIGINT NOT NULL
);

CREATE TABLE alias_moves (
    name       TEXT   NOT NULL,
    generation BIGINT NOT NULL,
    version    TEXT   NOT NULL REFERENCES model_versions (version),
    previous   TEXT   NOT NULL,
    moved_at   BIGINT NOT NULL,
    actor      TEXT   NOT NULL,
    reason     TEXT   NOT NULL,
    PRIMARY KEY (name, generation)
);

-- The log of the aliases is append-only, for everyone who holds the database.
CREATE FUNCTION refuse_to_change_the_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'alias_moves is append-only';
END;
$$;
CREATE TRIGGER alias_moves_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON alias_moves
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_log();

CREATE TABLE replicas (
    id         TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    version    TEXT   NOT NULL,
    generation BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    error      TEXT   NOT NULL
);

