ALTER TABLE runs DROP COLUMN progress;
DROP TABLE samples;
