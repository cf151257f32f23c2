COMMENT ON TABLE schema_migrations IS NULL;
