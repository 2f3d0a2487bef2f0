"""What is known of functions, settings and relations by name: which volatile ones are harmless, which others are not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dev_postgres_mcp.guard.catalogue import CORE

if TYPE_CHECKING:
    from dev_postgres_mcp.guard.catalogue import Function, Relation


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HARMLESS = _names(
    # time, chance and ids
    "array_sample array_shuffle clock_timestamp gen_random_uuid random random_normal timeofday uuidv4 uuidv7"
    # this session
    " current_query currval lastval pg_jit_available"
    # sizes and descriptions
    " pg_collation_actual_version pg_database_collation_actual_version pg_database_size pg_indexes_size"
    " pg_get_sequence_data pg_partition_ancestors pg_partition_tree pg_relation_size pg_sequence_last_value"
    " pg_table_size pg_tablespace_size pg_total_relation_size"
    # how the server is doing; what is not for everybody the server itself refuses
    " pg_blocking_pids pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system"
    " pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn pg_get_multixact_members"
    " pg_get_wait_events pg_get_wal_replay_pause_state pg_get_wal_resource_managers pg_is_in_recovery"
    " pg_is_wal_replay_paused pg_last_committed_xact pg_last_wal_receive_lsn pg_last_wal_replay_lsn"
    " pg_last_xact_replay_timestamp pg_lock_status pg_notification_queue_usage pg_prepared_xact"
    " pg_replication_origin_progress pg_safe_snapshot_blocking_pids pg_show_replication_origin_status"
    " pg_stat_get_backend_io pg_stat_get_backend_wal pg_stat_get_io pg_stat_get_recovery_prefetch"
    " pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit pg_stat_get_xact_function_calls"
    " pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans"
    " pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_hot_updated"
    " pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_newpage_updated"
    " pg_stat_get_xact_tuples_returned pg_stat_get_xact_tuples_updated pg_stat_have_stats"
    " pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_xact_status txid_status"
)
"""Volatile functions of PostgreSQL that leave nothing behind and wait for nobody."""
_HARMLESS_OF_EXTENSIONS = _names(
    "gen_random_bytes gen_random_uuid gen_salt normal_rand pg_stat_statements pg_stat_statements_info"
    " pgp_pub_encrypt pgp_pub_encrypt_bytea pgp_sym_encrypt pgp_sym_encrypt_bytea uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4"
)
"""Their volatile ones."""
_RUNS_TEXT = "runs SQL that is given as text, where nobody judges it; write that SQL as part of the query"
_SETTING = "changes a setting of the session"
_LOCK = "takes or frees an advisory lock"
_WAIT = "keeps the connection waiting"
_SEQUENCE = "moves a sequence on; read it with `SELECT last_value FROM the_sequence`"
_LARGE_OBJECT = "belongs to large objects, which a reader leaves alone"
_FILES = "reads or writes files of the server"
_OTHERS = "ends or disturbs the work of others"
_SERVER = "changes how the server runs, backs up or replicates"
_STATISTICS = "resets or changes the server's statistics"
_REMOTE = "reaches another database, where nobody judges what it does"
_INSIDE = "looks at or changes pages and memory below the reach of permissions"
_OWN = "is called by PostgreSQL itself and not in queries"
_TRANSACTION = "makes the transaction count as a writing one"

_REASONS: tuple[tuple[str, str], ...] = (
    (r"(query|cursor|table|schema|database)_to_xml(schema|_and_xmlschema)?", _RUNS_TEXT),
    (r"ts_stat|ts_rewrite|crosstab\w*|connectby|xpath_table|cypher", _RUNS_TEXT),
    (r"set_config|setseed|set_limit", _SETTING),
    (r"pg_(try_)?advisory_\w+", _LOCK),
    (r"pg_sleep\w*", _WAIT),
    (r"nextval|setval|pg_nextoid", _SEQUENCE),
    (r"lo_\w+|loread|lowrite", _LARGE_OBJECT),
    (r"pg_(read|ls|stat|file)_(file|binary_file|dir|\w*dir|write|sync|rename|unlink|read|length)\w*", _FILES),
    (r"pg_current_logfile|pg_logdir_ls|pg_logfile_rotate|pg_rotate_logfile\w*|pg_hba_file_rules", _FILES),
    (r"pg_(cancel|terminate)_backend|pg_log_backend_memory_contexts", _OTHERS),
    (r"pg_notify|pg_logical_emit_message", "sends a message to others"),
    (r"pg_stat_reset\w*|pg_stat_statements_reset|pg_(clear|restore)_\w+_stats|pg_stat_\w+", _STATISTICS),
    (r"dblink\w*|postgres_fdw_\w+|http\w*", _REMOTE),
    (r"(txid_current|pg_current_xact_id|pg_export_snapshot)", _TRANSACTION),
    (r"fmgr_\w+_validator|\w+_(call|inline)_handler|plpgsql_validator|binary_upgrade_\w+", _OWN),
    (r"pg_\w*(wal|slot|slots|backup|replication|restore_point|promote|reload_conf|standby)\w*", _SERVER),
    (r"brin_\w+|gin_clean_pending_list|pg_import_system_collations|amvalidate", _SERVER),
)
_REFUSED = _names(
    "table_to_xml table_to_xmlschema table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema"
    " schema_to_xml_and_xmlschema database_to_xml database_to_xmlschema database_to_xml_and_xmlschema"
    " txid_current pg_current_xact_id fmgr_internal_validator fmgr_c_validator fmgr_sql_validator"
    " pg_event_trigger_ddl_commands pg_event_trigger_dropped_objects"
)
"""Functions of PostgreSQL that are not volatile and harmful all the same."""
_REFUSED_OF_EXTENSIONS = _names(
    "crosstab crosstab2 crosstab3 crosstab4 crosstabn connectby xpath_table set_limit cypher"
)
_REFUSED_EXTENSIONS = {
    "adminpack": _FILES,
    "amcheck": _INSIDE,
    "dblink": _REMOTE,
    "file_fdw": _FILES,
    "http": _REMOTE,
    "old_snapshot": _INSIDE,
    "pageinspect": _INSIDE,
    "pg_buffercache": _INSIDE,
    "pg_cron": "schedules statements for later",
    "pg_freespacemap": _INSIDE,
    "pg_logicalinspect": _INSIDE,
    "pg_net": _REMOTE,
    "pg_prewarm": _INSIDE,
    "pg_surgery": _INSIDE,
    "pg_visibility": _INSIDE,
    "pg_walinspect": _INSIDE,
    "pgrowlocks": _INSIDE,
    "pgstattuple": _INSIDE,
    "plperlu": _OWN,
    "plpython3u": _OWN,
    "postgres_fdw": _REMOTE,
    "xml2": _RUNS_TEXT,
}
_HARMLESS_SETTINGS_OF_FUNCTIONS = frozenset({"search_path"})
_RANGE_MAKERS = _names(
    "range_constructor2 range_constructor3 multirange_constructor0 multirange_constructor1 multirange_constructor2"
)
_WRAPPERS = frozenset({"postgres_fdw", "file_fdw"})
SAMPLING_METHODS = frozenset({"bernoulli", "system", "system_rows", "system_time"})
TYPE_BY_NAME = frozenset({"pg_input_is_valid", "pg_input_error_info"})
"""Functions that read a value of the type whose name they are given as text."""
_SECRET_SETTINGS = re.compile(
    r"(hba|ident|config|external_pid)_file|data_directory|ssl_\w*(file|command|dir|phrase\w*)|krb_server_keyfile"
    r"|primary_conninfo|(archive|restore|recovery_end|archive_cleanup)_command|unix_socket_directories"
    r"|log_directory|log_filename|dynamic_library_path|(shared|session|local)_preload_libraries"
)
_SECRET_RELATIONS = _names(
    "pg_authid pg_shadow pg_user_mapping pg_user_mappings pg_hba_file_rules pg_ident_file_mappings pg_file_settings"
    " pg_largeobject pg_statistic pg_statistic_ext_data"
)


def object_to_function(function: Function) -> str | None:
    """Return what speaks against calling a function, None for nothing; an SQL body or parts are judged elsewhere."""
    if function.origin == CORE:
        return _object_to_core(function)
    if function.security_definer:
        return "runs with the rights of its owner"
    if function.origin:
        return _object_to_extension(function)
    changed = [
        one for one in function.settings if one.partition("=")[0] not in _HARMLESS_SETTINGS_OF_FUNCTIONS
    ]
    if changed:
        return "changes settings while it runs"
    if function.parts or function.language == "sql" or _makes_range(function):
        return None
    return f"is written in {function.language}, which cannot be judged, whatever its label says"


def object_to_setting(name: str) -> str | None:
    """Return what speaks against showing a setting."""
    if _SECRET_SETTINGS.fullmatch(name.lower()):
        return "tells where the server keeps its files and secrets"
    return None


def object_to_relation(name: str, schema: str | None) -> str | None:
    """Return what speaks against reading a relation of PostgreSQL's own."""
    if name in _SECRET_RELATIONS and schema in {None, "pg_catalog"}:
        return "holds secrets or raw data of others"
    return None


def object_to_foreign_table(relation: Relation) -> str | None:
    """Return what speaks against reading a foreign table."""
    if relation.program:
        return "runs a program on the server"
    if relation.wrapper and relation.wrapper not in _WRAPPERS:
        return f"is read by {relation.wrapper}, of which it is not known what that does"
    return None


def _makes_range(function: Function) -> bool:
    """Return whether it is one of the functions that a range type comes with."""
    return function.language == "internal" and (function.body or "") in _RANGE_MAKERS


def explain_function(name: str) -> str:
    """Return what is wrong with a function of this name that is not harmless."""
    found = (reason for pattern, reason in _REASONS if re.fullmatch(pattern, name))
    return next(found, "is volatile: it may change something, and is not known to be harmless")


def _object_to_core(function: Function) -> str | None:
    if function.name in _REFUSED or (function.volatility == "v" and function.name not in _HARMLESS):
        return explain_function(function.name)
    if "internal" in function.arguments or {"cstring", "oid"} <= set(function.arguments):
        return _OWN
    return None


def _object_to_extension(function: Function) -> str | None:
    if function.origin in _REFUSED_EXTENSIONS:
        return _REFUSED_EXTENSIONS[function.origin]
    if function.name in _REFUSED_OF_EXTENSIONS or (
        function.volatility == "v" and function.name not in _HARMLESS_OF_EXTENSIONS
    ):
        return explain_function(function.name)
    return None
