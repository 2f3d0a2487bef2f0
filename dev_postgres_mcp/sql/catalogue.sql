-- name: catalogue_path
-- Every schema that anybody's search_path could name here: this session's, those of roles and databases, "$user".
SELECT unnest(string_to_array(current_setting('search_path'), ','))
UNION
SELECT unnest(string_to_array(split_part(option, '=', 2), ','))
  FROM pg_catalog.pg_db_role_setting, unnest(setconfig) AS option WHERE option LIKE 'search\_path=%'
UNION
SELECT rolname FROM pg_catalog.pg_roles;

-- name: catalogue_functions
-- Every function.  What initdb made has a small id; an extension's members carry its name, a user's own none.
SELECT n.nspname, p.proname,
       p.proargtypes::oid[]::bigint[],
       p.pronargdefaults::int, p.provariadic <> 0, p.provolatile::text,
       CASE WHEN p.oid < 16384 THEN 'core' ELSE coalesce(e.extname, '') END,
       l.lanname, p.prosecdef, coalesce(p.proconfig, '{}'),
       CASE WHEN p.oid >= 16384 AND e.oid IS NULL AND l.lanname = 'sql'
            THEN coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
            WHEN p.oid >= 16384 AND e.oid IS NULL AND l.lanname = 'internal' THEN p.prosrc END,
       p.prosqlbody IS NOT NULL,
       CASE WHEN p.oid >= 16384 THEN ARRAY(
           SELECT part FROM pg_aggregate a,
                  unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                               a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::oid[]) part
            WHERE a.aggfnoid = p.oid AND part <> 0) ELSE '{}' END::bigint[],
       p.oid::bigint
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_language l ON l.oid = p.prolang
  LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  LEFT JOIN pg_extension e ON e.oid = d.refobjid
 WHERE p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype);

-- name: catalogue_operators
SELECT DISTINCT n.nspname, o.oprname, o.oprcode::oid::bigint,
       CASE WHEN o.oid < 16384 THEN 'core' ELSE coalesce(e.extname, '') END
  FROM pg_operator o
  JOIN pg_namespace n ON n.oid = o.oprnamespace
  LEFT JOIN pg_depend d ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e'
  LEFT JOIN pg_extension e ON e.oid = d.refobjid
 WHERE o.oprcode <> 0;

-- name: catalogue_types
-- Every type, with what reading one of its values runs: a domain's conditions, the functions of a range.
SELECT n.nspname, t.typname,
       CASE WHEN t.typtype = 'b' AND t.typelem <> 0 AND t.typcategory = 'A' THEN 'a' ELSE t.typtype::text END,
       CASE WHEN t.oid < 16384 THEN 'core' ELSE coalesce(e.extname, '') END,
       CASE WHEN t.typtype = 'd' THEN ARRAY(
           SELECT pg_get_expr(c.conbin, 0) FROM pg_constraint c WHERE c.contypid = t.oid AND c.conbin IS NOT NULL)
            ELSE '{}' END::text[],
       CASE WHEN t.oid < 16384 THEN '{}'
            WHEN t.typtype = 'd' THEN ARRAY[t.typbasetype]
            WHEN t.typtype = 'c' THEN ARRAY(
                SELECT a.atttypid FROM pg_attribute a
                 WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384)
            WHEN t.typtype = 'r' THEN ARRAY(SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid)
            WHEN t.typtype = 'm' THEN ARRAY(SELECT r.rngtypid FROM pg_range r WHERE r.rngmultitypid = t.oid)
            WHEN t.typelem <> 0 AND t.typcategory = 'A' THEN ARRAY[t.typelem]
            ELSE '{}' END::bigint[],
       CASE WHEN t.typtype = 'r' AND t.oid >= 16384 THEN ARRAY(
           SELECT f FROM pg_range r, unnest(ARRAY[r.rngcanonical, r.rngsubdiff]::oid[]) f
            WHERE r.rngtypid = t.oid AND f <> 0
            UNION
           SELECT p.amproc FROM pg_range r JOIN pg_opclass o ON o.oid = r.rngsubopc
             JOIN pg_amproc p ON p.amprocfamily = o.opcfamily WHERE r.rngtypid = t.oid)
            ELSE '{}' END::bigint[],
       t.oid::bigint
  FROM pg_type t
  JOIN pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
  LEFT JOIN pg_extension e ON e.oid = d.refobjid;

-- name: catalogue_casts
SELECT casttarget::bigint, castfunc::bigint
  FROM pg_cast
 WHERE oid >= 16384 AND castfunc <> 0;

-- name: catalogue_relations
-- What runs code when it is read: views, tables with row security, foreign tables.
SELECT n.nspname, c.relname,
       CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END,
       ARRAY(SELECT pg_get_expr(p.polqual, p.polrelid) FROM pg_policy p
              WHERE p.polrelid = c.oid AND p.polqual IS NOT NULL AND p.polcmd IN ('r', '*')),
       coalesce(w.fdwname, ''),
       coalesce(EXISTS (SELECT FROM pg_options_to_table(f.ftoptions) WHERE option_name = 'program'), false)
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_foreign_table f ON f.ftrelid = c.oid
  LEFT JOIN pg_foreign_server s ON s.oid = f.ftserver
  LEFT JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
 WHERE c.oid >= 16384 AND (c.relkind IN ('v', 'f') OR c.relrowsecurity);
