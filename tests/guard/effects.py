"""What a statement could have changed: the whole cluster as it is seen by a superuser, and the reader's session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from tests.guard.reading import Outcome, Reader
    from tests.guard.servers import Server

_WORLD = """
SELECT 'next transaction' AS part, pg_snapshot_xmax(pg_current_snapshot())::text AS state
UNION ALL SELECT 'catalogue', md5(string_agg(concat(c.oid, c.relname, c.relfilenode, c.relacl), ',' ORDER BY c.oid))
  FROM pg_class c WHERE c.oid >= 16384
UNION ALL SELECT 'functions', md5(string_agg(concat(oid, prosrc, proacl), ',' ORDER BY oid)) FROM pg_proc WHERE oid >= 16384
UNION ALL SELECT 'sequences', string_agg(concat(sequencename, '=', last_value), ',' ORDER BY sequencename) FROM pg_sequences
UNION ALL SELECT 'large objects', md5(string_agg(concat(loid, pageno, data), ',' ORDER BY loid, pageno)) FROM pg_largeobject
UNION ALL SELECT 'large object owners', md5(string_agg(m::text, ',' ORDER BY oid)) FROM pg_largeobject_metadata m
UNION ALL SELECT 'roles', md5(string_agg(r::text, ',' ORDER BY oid)) FROM pg_authid r
UNION ALL SELECT 'databases', string_agg(datname, ',' ORDER BY datname) FROM pg_database
UNION ALL SELECT 'settings', md5(string_agg(concat(name, '=', setting), ',' ORDER BY name))
  FROM pg_settings WHERE source <> 'session'
UNION ALL SELECT 'settings of roles', md5(string_agg(s::text, ',' ORDER BY s::text)) FROM pg_db_role_setting s
UNION ALL SELECT 'configuration', md5(string_agg(f::text, ',' ORDER BY seqno)) FROM pg_file_settings f
UNION ALL SELECT 'locks', coalesce(string_agg(concat(locktype, objid, relation::regclass, mode), ',' ORDER BY 1), '')
  FROM (SELECT * FROM pg_locks WHERE pid <> pg_backend_pid() AND (locktype = 'advisory' OR mode <> 'AccessShareLock')
           AND locktype <> 'virtualxid') l
UNION ALL SELECT 'files', string_agg(concat(folder, '/', file), ',' ORDER BY folder, file)
  FROM unnest(ARRAY['.', 'pg_snapshots', 'pg_replslot', 'pg_tblspc', 'pg_twophase']) folder, pg_ls_dir(folder) file
UNION ALL SELECT 'statistics', string_agg(concat(datname, stats_reset), ',' ORDER BY datname) FROM pg_stat_database
UNION ALL SELECT 'archiver statistics', stats_reset::text FROM pg_stat_archiver
UNION ALL SELECT 'others', string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity
  WHERE usename <> 'reader' AND backend_type = 'client backend' AND pid <> pg_backend_pid()
UNION ALL SELECT 'log file', pg_current_logfile()
"""
_TABLES = """
SELECT string_agg(format('SELECT %L, md5(string_agg(x::text, %L ORDER BY x::text)) FROM %s x', 'rows of ' || relname, ',',
                         oid::regclass), ' UNION ALL ')
  FROM pg_class WHERE relkind = 'r' AND oid >= 16384 AND relpersistence <> 't'
"""
_SESSION = """
SELECT 'session settings', md5(string_agg(concat(name, '=', setting), ',' ORDER BY name)) FROM pg_settings
  WHERE source = 'session' OR name NOT LIKE '%.%'  -- a library that is loaded brings settings along
UNION ALL SELECT 'session user', concat(session_user, current_user)
UNION ALL SELECT 'prepared statements', count(*)::text FROM pg_prepared_statements
UNION ALL SELECT 'cursors', string_agg(name, ',') FROM pg_cursors WHERE is_holdable
UNION ALL SELECT 'channels', string_agg(c, ',') FROM pg_listening_channels() c
"""
_TOKENS = ("tok_123", "SCRAM-SHA-256", "root:x:0")
"""What only a leak shows: rows of a table that the reader may not read, password hashes, a file of the server."""


class Scale:
    """Tells what a statement has changed: compares with what it saw the last time."""

    def __init__(self, server: Server, reader: Reader) -> None:
        self._reader = reader
        self._admin = psycopg.connect(server.admin.dsn(), autocommit=True)
        self._bystander = psycopg.connect(server.admin.dsn(), autocommit=True)
        self._before = self._look()

    def weigh(self, outcome: Outcome) -> tuple[str, ...]:
        """Return the effects of the statement that has just run."""
        after = self._look()
        changed = [part for part in after if after[part] != self._before.get(part)]
        self._before = after
        if changed:
            self._reader.close()
            self._before = self._look()
        leaked = [token for token in _TOKENS if token in str(outcome.rows)]
        return (
            *changed,
            *(f"leak of {token}" for token in leaked),
            *(f"said {notice!r}" for notice in outcome.notices),
        )

    def close(self) -> None:
        """Let go of the server."""
        self._admin.close()
        self._bystander.close()

    def _look(self) -> dict[str, Any]:
        world = self._admin.execute(_WORLD.encode(), prepare=False).fetchall()
        session = self._reader.connection.execute(_SESSION.encode(), prepare=False).fetchall()
        (tables,) = self._admin.execute(_TABLES.encode(), prepare=False).fetchone() or ("",)
        rows = self._admin.execute(tables.encode(), prepare=False).fetchall()
        return dict(world) | dict(rows) | dict(session)
