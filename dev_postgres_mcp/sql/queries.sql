-- name: ping
-- The cheapest statement that only a server that is really up answers.
SELECT 1;

-- name: server_facts
-- Version, seconds since the start, client connections used and allowed, bytes of the current database.
SELECT current_setting('server_version'),
       extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_connections')::int,
       pg_database_size(current_database());

-- name: create_extension
-- CASCADE brings what it needs (cube for earthdistance).
CREATE EXTENSION IF NOT EXISTS {extension} CASCADE;

-- name: commit_to_disk
-- For names and passwords: with synchronous_commit off, a backend that crashes takes the last half second with it.
SET synchronous_commit = local;

-- name: rename_database
ALTER DATABASE {old_name} RENAME TO {new_name};

-- name: create_stand_in
-- Nobody can rename the role of their own session: for one statement this superuser takes its place.
CREATE ROLE {stand_in} SUPERUSER;

-- name: become_stand_in
SET SESSION AUTHORIZATION {stand_in};

-- name: rename_role
-- A SCRAM password survives the renaming; only an MD5 one would not.
ALTER ROLE {old_name} RENAME TO {new_name};

-- name: reset_session
RESET SESSION AUTHORIZATION;

-- name: drop_stand_in
DROP ROLE {stand_in};

-- name: create_database
CREATE DATABASE {new_name};

-- name: copy_database
CREATE DATABASE {new_name} TEMPLATE {old_name};

-- name: set_password
ALTER ROLE {username} PASSWORD {verifier};

-- name: checkpoint
-- A statement of its own: with synchronous_commit off, only a checkpoint that begins after a commit writes it.
CHECKPOINT;

-- name: log_no_statements
-- What follows holds a password: a failing statement must not be logged with its text.
SET log_min_error_statement = panic;

-- name: show_no_activity
-- Nor may a crash in the middle of it.
SET track_activities = off;

-- name: deliver
-- One line an element.  Delimiter and quote are characters that no line holds, so that nothing is escaped.
COPY (SELECT unnest({lines}::text[])) TO PROGRAM {command}
WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02', ESCAPE E'\x02', ENCODING 'UTF8');
