-- name: make_database
CREATE DATABASE {name};

-- name: clone_database
-- Before PostgreSQL 15, where copying the files is the only way.
CREATE DATABASE {name} TEMPLATE {template};

-- name: clone_database_files
-- Twice as quick for a small database as the other strategy, which writes every page to the log.
CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy;

-- name: drop_database
-- FORCE: a connection that a test has left open must not hold up its end.
DROP DATABASE IF EXISTS {name} WITH (FORCE);

-- name: close_template
-- Nobody can connect any more, and whoever is connected already would keep others from copying it.
ALTER DATABASE {name} IS_TEMPLATE true ALLOW_CONNECTIONS false;

-- name: open_template
-- A template cannot be dropped.
ALTER DATABASE {name} IS_TEMPLATE false;

-- name: end_clients
-- Waits until they are gone, five seconds for each at most.
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = {text} AND pid <> pg_backend_pid();

-- name: name_template
-- The last step of a build: a database of this name is whole.
ALTER DATABASE {name} RENAME TO {final};

-- name: comment_database
COMMENT ON DATABASE {name} IS {text};

-- name: list_databases
SELECT d.datname, coalesce(shobj_description(d.oid, 'pg_database'), ''),
       (SELECT count(*) FROM pg_stat_activity AS a WHERE a.datid = d.oid AND a.backend_type = 'client backend')
  FROM pg_database AS d ORDER BY d.datname;

-- name: is_template
SELECT datistemplate FROM pg_database WHERE datname = {text};

-- name: list_applications
SELECT DISTINCT application_name FROM pg_stat_activity WHERE backend_type = 'client backend';

-- name: take_turn
SELECT pg_advisory_lock({number});

-- name: pass_turn
SELECT pg_advisory_unlock({number});
