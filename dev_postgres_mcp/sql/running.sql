-- name: flush_statistics
-- From PostgreSQL 15 on: the session's counters are there for others as soon as this has answered.
SELECT pg_catalog.pg_stat_force_next_flush();

-- name: watcher_timeouts
-- A look must never wait long: the script may have locked the catalog itself.
SELECT pg_catalog.set_config('search_path', '', false),
       pg_catalog.set_config('lock_timeout', '200ms', false),
       pg_catalog.set_config('statement_timeout', '2s', false);

-- name: notice_hangup
-- The server notices a client that is gone also in the middle of a statement, and rolls back.
SELECT pg_catalog.set_config('client_connection_check_interval', '1s', false);

-- name: locks_of
-- What one session holds on relations that others can see; new ones are nobody else's business.
SELECT format('%I.%I', n.nspname, c.relname),
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index'
                      WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                      WHEN 'f' THEN 'foreign table' ELSE 'type' END,
       l.mode
  FROM pg_locks l
  JOIN pg_class c ON c.oid = l.relation
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE l.pid = {pid} AND l.granted AND l.locktype = 'relation'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema';

-- name: end_session
-- Returns when the session is gone, or after the time given in milliseconds.
SELECT pg_terminate_backend({pid}, {milliseconds});
