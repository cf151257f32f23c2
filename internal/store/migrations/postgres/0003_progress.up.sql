-- What the model in training says about a few pictures at the end of each epoch.
-- Sequence numbers come from trainings.metric_sequence, as those of metrics.
CREATE TABLE samples (
    run_key   TEXT   NOT NULL REFERENCES trainings (run_key),
    step      BIGINT NOT NULL,
    image     TEXT   NOT NULL,
    epoch     BIGINT NOT NULL,
    caption   TEXT   NOT NULL,
    reference TEXT   NOT NULL,
    picture   TEXT   NOT NULL,
    time      BIGINT NOT NULL,
    sequence  BIGINT NOT NULL,
    PRIMARY KEY (run_key, step, image)
);
CREATE UNIQUE INDEX samples_in_order ON samples (run_key, sequence);

-- JSON: the run key from the beginning of the training, all stages at the end.
ALTER TABLE runs ADD COLUMN progress TEXT;
