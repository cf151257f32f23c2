-- Temporal's user, who makes Temporal's databases.
CREATE USER temporal PASSWORD 'temporal' CREATEDB;
