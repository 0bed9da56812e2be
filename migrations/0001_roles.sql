-- Who may do what. The owner runs migrations and owns every object but the partitioned tables: these belong
-- to `stipend_maintenance`, because only a table's owner may attach and detach its partitions.
-- `stipend_runtime` serves and works, and owns nothing. Each table's file grants what its writers need and
-- no more. Login roles are members of these groups and are made by the operator.
--
-- Invariant: entries are never updated or deleted, because the runtime role cannot (promise 5).
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stipend_runtime') THEN
        CREATE ROLE stipend_runtime NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stipend_maintenance') THEN
        CREATE ROLE stipend_maintenance NOLOGIN;
    END IF;
    -- The owner hands tables over to it, so that it must be able to act as it.
    IF NOT pg_has_role('stipend_maintenance',
            CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
    THEN
        EXECUTE format('GRANT stipend_maintenance TO %I', current_user);
    END IF;
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO stipend_runtime, stipend_maintenance;
GRANT CREATE ON SCHEMA public TO stipend_maintenance;
-- So that a process can see whether the schema is the one it was built for.
GRANT SELECT ON _sqlx_migrations TO stipend_runtime, stipend_maintenance;
