-- Who may do what. The owner runs migrations and owns every object; `stipend_maintenance` will detach
-- partitions; `stipend_runtime` serves and works, and owns nothing. Each table's file grants what its
-- writers need and no more. Login roles are members of these groups and are made by the operator.
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
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO stipend_runtime, stipend_maintenance;
-- So that a process can see whether the schema is the one it was built for.
GRANT SELECT ON _sqlx_migrations TO stipend_runtime;
