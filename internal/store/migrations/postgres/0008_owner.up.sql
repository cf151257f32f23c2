-- Marks the database as captioner's.
COMMENT ON TABLE schema_migrations IS 'captioner';
