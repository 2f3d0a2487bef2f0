-- name: pin_session
-- Definitions read the same whatever the role or the database has set: every name qualified, as pg_dump does it.
SELECT pg_catalog.set_config('search_path', '', false),
       pg_catalog.set_config('quote_all_identifiers', 'off', false),
       pg_catalog.set_config('DateStyle', 'ISO', false),
       pg_catalog.set_config('IntervalStyle', 'postgres', false),
       pg_catalog.set_config('TimeZone', 'UTC', false),
       pg_catalog.set_config('extra_float_digits', '1', false),
       pg_catalog.set_config('bytea_output', 'hex', false),
       pg_catalog.set_config('statement_timeout', '0', false),
       pg_catalog.set_config('lock_timeout', '0', false);

-- name: begin_look
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: end_look
COMMIT;

-- name: schema
-- Every user object as (part of, kind, name, definition): nothing of PostgreSQL, nothing that an extension brought.
-- Works on 14 to 18: only columns and functions that all of them have.
WITH member AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), inner_part AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'i' AND objsubid = 0 AND objid >= 16384
), space AS MATERIALIZED (
    SELECT oid, nspname, nspowner, nspacl, quote_ident(nspname) AS name
      FROM pg_namespace
     WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), relation AS MATERIALIZED (
    SELECT c.*, format('%I.%I', s.nspname, c.relname) AS name
      FROM pg_class c JOIN space s ON s.oid = c.relnamespace
     WHERE ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM member)
), routine AS MATERIALIZED (
    SELECT p.*, format('%I.%I(%s)', s.nspname, p.proname, oidvectortypes(p.proargtypes)) AS name
      FROM pg_proc p JOIN space s ON s.oid = p.pronamespace
     WHERE ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM member)
       AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM inner_part)
), own_type AS MATERIALIZED (
    SELECT t.*, format('%I.%I', s.nspname, t.typname) AS name
      FROM pg_type t JOIN space s ON s.oid = t.typnamespace
     WHERE ('pg_type'::regclass, t.oid) NOT IN (SELECT classid, objid FROM member)
       AND t.typtype IN ('b', 'c', 'd', 'e', 'p', 'r')
       AND NOT EXISTS (SELECT FROM pg_type element WHERE element.typarray = t.oid)
       AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
)
SELECT '' AS part_of, 'schema' AS kind, name, 'OWNER TO ' || quote_ident(pg_get_userbyid(nspowner)) AS definition
  FROM space
 WHERE ('pg_namespace'::regclass, oid) NOT IN (SELECT classid, objid FROM member)
UNION ALL
SELECT '', 'extension', quote_ident(e.extname), format('VERSION %L SCHEMA %I', e.extversion, n.nspname)
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
UNION ALL
-- tables
SELECT '', CASE relkind WHEN 'f' THEN 'foreign table' ELSE 'table' END, name,
       concat_ws(' ',
           CASE relpersistence WHEN 'u' THEN 'UNLOGGED' END,
           CASE relkind WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
           'OF ' || format_type(nullif(reloftype, 0), NULL),
           CASE WHEN relispartition THEN 'PARTITION OF ' ELSE 'INHERITS ' END || parents.names,
           pg_get_expr(relpartbound, oid),
           'PARTITION BY ' || pg_get_partkeydef(oid),
           'USING ' || (SELECT quote_ident(amname) FROM pg_am WHERE pg_am.oid = relam AND amname <> 'heap'),
           'SERVER ' || (SELECT quote_ident(srvname)
                           FROM pg_foreign_table f JOIN pg_foreign_server v ON v.oid = f.ftserver
                          WHERE f.ftrelid = relation.oid),
           'WITH (' || array_to_string(reloptions, ', ') || ')',
           'TABLESPACE ' || (SELECT quote_ident(spcname) FROM pg_tablespace WHERE pg_tablespace.oid = reltablespace),
           CASE WHEN relrowsecurity THEN 'ENABLE ROW LEVEL SECURITY' END,
           CASE WHEN relforcerowsecurity THEN 'FORCE ROW LEVEL SECURITY' END,
           CASE WHEN relkind <> 'f' THEN
                CASE relreplident WHEN 'n' THEN 'REPLICA IDENTITY NOTHING' WHEN 'f' THEN 'REPLICA IDENTITY FULL' END
           END,
           'OWNER TO ' || quote_ident(pg_get_userbyid(relowner)))
  FROM relation
  LEFT JOIN LATERAL (
       SELECT string_agg(format('%I.%I', n.nspname, p.relname), ', ' ORDER BY inhseqno) AS names
         FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace
        WHERE h.inhrelid = relation.oid) parents ON true
 WHERE relkind IN ('r', 'p', 'f')
UNION ALL
-- columns
SELECT r.name, 'column', quote_ident(a.attname),
       concat_ws(' ',
           format_type(a.atttypid, a.atttypmod),
           'COLLATE ' || (SELECT format('%I.%I', n.nspname, l.collname)
                            FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
                           WHERE l.oid = a.attcollation AND l.oid <> t.typcollation),
           CASE WHEN a.attstorage <> t.typstorage THEN 'STORAGE ' ||
                CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END
           END,
           CASE a.attcompression WHEN 'p' THEN 'COMPRESSION pglz' WHEN 'l' THEN 'COMPRESSION lz4' END,
           CASE WHEN a.attnotnull THEN 'NOT NULL' END,
           CASE WHEN a.attnotnull AND EXISTS (
                SELECT FROM pg_constraint k
                 WHERE k.conrelid = r.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated)
                THEN 'NOT VALID' END,
           CASE a.attidentity WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY' WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY' END,
           CASE a.attgenerated
                WHEN '' THEN 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)
                ELSE 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') ' ||
                     CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END
           END,
           CASE WHEN a.attstattarget >= 0 THEN 'STATISTICS ' || a.attstattarget END,
           -- pg_attver: how minors from November 2026 on tell versions of a column's type apart, and what pg_dump leaves out, too.
           'SET (' || (SELECT string_agg(option, ', ') FROM unnest(a.attoptions) AS option
                        WHERE option NOT LIKE 'pg\_attver=%') || ')')
  FROM relation r
  JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
 WHERE r.relkind IN ('r', 'p', 'f')
UNION ALL
-- constraints; NOT NULL is said of the column, and a partition's copy of a key of the parent is not a thing of its own
SELECT r.name, 'constraint', quote_ident(k.conname), pg_get_constraintdef(k.oid)
  FROM pg_constraint k JOIN relation r ON r.oid = k.conrelid
 WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.conparentid = 0
UNION ALL
-- indexes, other than those of a constraint
SELECT r.name, 'index', quote_ident(c.relname),
       concat_ws(' ',
           pg_get_indexdef(c.oid),
           CASE WHEN NOT i.indisvalid THEN 'INVALID' END,
           CASE WHEN i.indisclustered THEN 'CLUSTERED' END,
           CASE WHEN i.indisreplident THEN 'REPLICA IDENTITY' END)
  FROM pg_index i JOIN relation r ON r.oid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid
 WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
UNION ALL
SELECT r.name, 'statistics', format('%I.%I', n.nspname, x.stxname), pg_get_statisticsobjdef(x.oid)
  FROM pg_statistic_ext x JOIN relation r ON r.oid = x.stxrelid JOIN pg_namespace n ON n.oid = x.stxnamespace
UNION ALL
SELECT r.name, 'trigger', quote_ident(g.tgname),
       concat_ws(' ', pg_get_triggerdef(g.oid),
           CASE g.tgenabled WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'ON REPLICA' WHEN 'A' THEN 'ALWAYS' END)
  FROM pg_trigger g JOIN relation r ON r.oid = g.tgrelid
 WHERE NOT g.tgisinternal AND g.tgparentid = 0
UNION ALL
SELECT r.name, 'rule', quote_ident(w.rulename),
       concat_ws(' ', pg_get_ruledef(w.oid),
           CASE w.ev_enabled WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'ON REPLICA' WHEN 'A' THEN 'ALWAYS' END)
  FROM pg_rewrite w JOIN relation r ON r.oid = w.ev_class
 WHERE w.rulename <> '_RETURN'
UNION ALL
SELECT r.name, 'policy', quote_ident(p.polname),
       concat_ws(' ',
           CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
           'FOR ' || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                   WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
           'TO ' || (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END, ', ' ORDER BY role)
                       FROM unnest(p.polroles) AS role),
           'USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
           'WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
  FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
UNION ALL
SELECT '', CASE relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, name,
       concat_ws(' ',
           'WITH (' || array_to_string(reloptions, ', ') || ')',
           pg_get_viewdef(oid),
           CASE WHEN NOT relispopulated THEN 'WITH NO DATA' END,
           'OWNER TO ' || quote_ident(pg_get_userbyid(relowner)))
  FROM relation
 WHERE relkind IN ('v', 'm')
UNION ALL
-- sequences, other than those inside an identity column
SELECT '', 'sequence', r.name,
       concat_ws(' ',
           CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED' END,
           format('AS %s START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s', format_type(q.seqtypid, NULL),
                  q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache),
           CASE WHEN q.seqcycle THEN 'CYCLE' END,
           'OWNED BY ' || (SELECT format('%s.%I', o.name, a.attname)
                             FROM pg_depend d
                             JOIN relation o ON o.oid = d.refobjid
                             JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum = d.refobjsubid
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype = 'a'),
           'OWNER TO ' || quote_ident(pg_get_userbyid(r.relowner)))
  FROM relation r JOIN pg_sequence q ON q.seqrelid = r.oid
 WHERE ('pg_class'::regclass, r.oid) NOT IN (SELECT classid, objid FROM inner_part)
UNION ALL
SELECT '', CASE prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, name,
       concat_ws(' ', pg_get_functiondef(oid), 'OWNER TO ' || quote_ident(pg_get_userbyid(proowner)))
  FROM routine
 WHERE prokind IN ('f', 'p', 'w')
UNION ALL
SELECT '', 'aggregate', p.name,
       concat_ws(' ',
           'SFUNC ' || g.aggtransfn::text, 'STYPE ' || format_type(g.aggtranstype, NULL),
           'FINALFUNC ' || nullif(g.aggfinalfn::text, '-'), 'COMBINEFUNC ' || nullif(g.aggcombinefn::text, '-'),
           'INITCOND ' || quote_literal(g.agginitval),
           'KIND ' || nullif(g.aggkind::text, 'n'),
           'OWNER TO ' || quote_ident(pg_get_userbyid(p.proowner)))
  FROM pg_aggregate g JOIN routine p ON p.oid = g.aggfnoid
UNION ALL
SELECT '', CASE typtype WHEN 'd' THEN 'domain' ELSE 'type' END, name,
       concat_ws(' ',
           CASE typtype
                WHEN 'e' THEN (SELECT 'ENUM (' || coalesce(string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder), '') || ')'
                                 FROM pg_enum WHERE enumtypid = t.oid)
                WHEN 'c' THEN (SELECT 'COMPOSITE (' || coalesce(string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum), '') || ')'
                                 FROM pg_attribute WHERE attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped)
                WHEN 'r' THEN (SELECT 'RANGE OF ' || format_type(rngsubtype, NULL) FROM pg_range WHERE rngtypid = t.oid)
                WHEN 'd' THEN 'DOMAIN OVER ' || format_type(typbasetype, typtypmod)
                WHEN 'p' THEN 'SHELL'
                ELSE 'BASE TYPE'
           END,
           CASE WHEN typnotnull THEN 'NOT NULL' END,
           'DEFAULT ' || coalesce(pg_get_expr(typdefaultbin, 0), typdefault),
           (SELECT string_agg(format('CONSTRAINT %I %s', conname, pg_get_constraintdef(k.oid)), ' ' ORDER BY conname)
              FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'),
           'OWNER TO ' || quote_ident(pg_get_userbyid(typowner)))
  FROM own_type t
UNION ALL
SELECT '', 'event trigger', quote_ident(evtname),
       concat_ws(' ', 'ON ' || evtevent, 'WHEN TAG IN (' || array_to_string(evttags, ', ') || ')',
           'EXECUTE ' || evtfoid::regproc::text,
           CASE evtenabled WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'ON REPLICA' WHEN 'A' THEN 'ALWAYS' END)
  FROM pg_event_trigger
 WHERE ('pg_event_trigger'::regclass, oid) NOT IN (SELECT classid, objid FROM member)
UNION ALL
SELECT '', 'publication', quote_ident(pubname),
       concat_ws(' ', CASE WHEN puballtables THEN 'FOR ALL TABLES' END,
           (SELECT string_agg(format('%I.%I', v.schemaname, v.tablename), ', ' ORDER BY v.schemaname, v.tablename)
              FROM pg_publication_tables v WHERE v.pubname = p.pubname AND NOT p.puballtables),
           CASE WHEN pubinsert THEN 'INSERT' END, CASE WHEN pubupdate THEN 'UPDATE' END,
           CASE WHEN pubdelete THEN 'DELETE' END, CASE WHEN pubtruncate THEN 'TRUNCATE' END)
  FROM pg_publication p
UNION ALL
-- who was granted what; a routine or a type says nothing while PUBLIC has its usual right
SELECT owned.name, 'privileges',
       CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END || owned.of_what,
       string_agg(g.privilege_type || CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', ' ORDER BY g.privilege_type)
  FROM (SELECT name, '' AS of_what, relowner AS owner, relacl AS acl FROM relation WHERE relacl IS NOT NULL
        UNION ALL
        SELECT r.name, ' on ' || quote_ident(a.attname), r.relowner, a.attacl
          FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped
        UNION ALL
        SELECT name, '', nspowner, nspacl FROM space WHERE nspacl IS NOT NULL
        UNION ALL
        SELECT name, '', proowner, coalesce(proacl, acldefault('f', proowner)) FROM routine
        UNION ALL
        SELECT name, '', typowner, coalesce(typacl, acldefault('T', typowner)) FROM own_type) owned
 CROSS JOIN LATERAL aclexplode(owned.acl) g
 WHERE g.grantee <> owned.owner
 GROUP BY owned.name, owned.of_what, g.grantee
UNION ALL
SELECT '', 'default privileges',
       format('of %I for %s to %s', pg_get_userbyid(d.defaclrole),
              CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
                                   WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE d.defaclobjtype::text END
              || coalesce(' in ' || (SELECT quote_ident(nspname) FROM pg_namespace n WHERE n.oid = d.defaclnamespace), ''),
              CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END),
       string_agg(g.privilege_type || CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', ' ORDER BY g.privilege_type)
  FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) g
 GROUP BY d.defaclrole, d.defaclobjtype, d.defaclnamespace, g.grantee
UNION ALL
SELECT coalesce(r.name, p.name, ''),
       'comment', 'on ' || o.type || ' ' || o.identity, d.description
  FROM pg_description d
  LEFT JOIN relation r ON d.classoid = 'pg_class'::regclass AND r.oid = d.objoid
  LEFT JOIN routine p ON d.classoid = 'pg_proc'::regclass AND p.oid = d.objoid
 CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) o
 WHERE d.objoid >= 16384
   AND (d.classoid, d.objoid) NOT IN (SELECT classid, objid FROM member)
   AND d.classoid <> 'pg_extension'::regclass
   AND (d.classoid <> 'pg_class'::regclass OR r.name IS NOT NULL)
   AND o.identity IS NOT NULL
UNION ALL
-- what is rare is only said to be there
SELECT '', o.type, o.identity, ''
  FROM (SELECT 'pg_operator'::regclass AS classid, oid FROM pg_operator
        UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
        UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
        UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily
        UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
        UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict
        UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser
        UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template
        UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
        UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
        UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am
        UNION ALL SELECT 'pg_transform'::regclass, oid FROM pg_transform
        UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
        UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server) rare
 CROSS JOIN LATERAL pg_identify_object(rare.classid, rare.oid, 0) o
 WHERE rare.oid >= 16384
   AND (rare.classid, rare.oid) NOT IN (SELECT classid, objid FROM member UNION ALL SELECT classid, objid FROM inner_part)
   AND o.identity IS NOT NULL
 ORDER BY 1, 2, 3;

-- name: tables
-- What has rows of its own: tables, leaf partitions, filled materialized views.  Counters and names to count by.
SELECT n.nspname, c.relname, format('%I.%I', n.nspname, c.relname), c.oid::bigint, pg_relation_filenode(c.oid)::bigint,
       pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid), pg_stat_get_tuples_deleted(c.oid)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND c.relispopulated
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 3;

-- name: count_rows
-- ONLY: what inherits from a table counts for itself.
SELECT count(*) FROM ONLY {schema}.{table};
