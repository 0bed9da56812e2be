//! What PostgreSQL itself holds to: rights, keys, indexes and names, read from its own catalogue.

use sqlx::{Connection, PgConnection};

use crate::Company;

/// Names what breaks a rule; a healthy schema answers nothing.
async fn offenders(company: &Company, sql: &'static str) -> Vec<String> {
    let mut superuser = company.superuser().await;
    sqlx::query_scalar(sql).fetch_all(&mut superuser).await.unwrap()
}

/// Shows that a query over the catalogue can fail: breaks the schema, expects to be told, repairs it.
async fn is_seen(company: &Company, breakage: &'static str, sql: &'static str, offender: &str) {
    let mut superuser = company.superuser().await;
    sqlx::raw_sql("BEGIN").execute(&mut superuser).await.unwrap();
    sqlx::raw_sql(breakage).execute(&mut superuser).await.unwrap();
    let found: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut superuser).await.unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut superuser).await.unwrap();
    assert!(found.iter().any(|name| name.contains(offender)), "{offender} is not in {found:?}");
}

#[tokio::test]
async fn the_runtime_role_can_only_add_to_what_is_immutable() {
    const RIGHTS: &str = "SELECT t.name || ' ' || p.privilege
        FROM unnest(ARRAY['entries', 'movements', 'grants', 'command_keys', 'fact_marks', 'outbox',
                'checkpoints', 'anchors'])
            AS t (name)
        CROSS JOIN unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'MAINTAIN'])
            AS p (privilege)
        CROSS JOIN unnest(ARRAY['stipend_runtime', 'stipend_runtime_login']) AS r (role)
        WHERE has_table_privilege(r.role, t.name, p.privilege)
            OR p.privilege = 'UPDATE' AND has_any_column_privilege(r.role, t.name, 'UPDATE')";
    let company = Company::new().await;
    assert_eq!(offenders(&company, RIGHTS).await, Vec::<String>::new());
    let breakage = "GRANT UPDATE (reference) ON entries TO stipend_runtime";
    is_seen(&company, breakage, RIGHTS, "entries UPDATE").await;
    company.finish().await;
}

#[tokio::test]
async fn the_runtime_role_owns_nothing_and_has_no_powers() {
    const OWNED: &str = "SELECT c.relname::text FROM pg_class c
        WHERE c.relowner IN ('stipend_runtime'::regrole, 'stipend_runtime_login'::regrole)
        UNION ALL
        SELECT 'dependency ' || d.objid FROM pg_shdepend d
        WHERE d.deptype = 'o' AND d.refobjid
            IN ('stipend_runtime'::regrole, 'stipend_runtime_login'::regrole)
        UNION ALL
        SELECT rolname::text FROM pg_roles
        WHERE rolname IN ('stipend_runtime', 'stipend_runtime_login')
            AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication
                OR has_schema_privilege(rolname, 'public', 'CREATE')
                OR pg_has_role(rolname, 'stipend_owner', 'MEMBER'))";
    let company = Company::new().await;
    assert_eq!(offenders(&company, OWNED).await, Vec::<String>::new());
    let breakage = "ALTER TABLE incarnations OWNER TO stipend_runtime";
    is_seen(&company, breakage, OWNED, "incarnations").await;
    company.finish().await;
}

#[tokio::test]
async fn changing_the_journal_is_refused_by_the_database() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    ann.operation(1, 10).keyed("key").granted().await;
    let mut runtime = PgConnection::connect(&company.db.runtime_url).await.unwrap();
    for statement in [
        "UPDATE entries SET amount_micropoints = 1",
        "DELETE FROM entries",
        "TRUNCATE entries CASCADE",
        "UPDATE movements SET reason = ''",
        "UPDATE grants SET valid_until = 1",
        "DELETE FROM command_keys",
        "DELETE FROM fact_marks",
        "DELETE FROM outbox",
        "DELETE FROM accounts",
        "DELETE FROM reservations",
        "DELETE FROM chain_events",
        "UPDATE wallets SET wallet = wallet",
        "UPDATE paymasters SET tenant_id = tenant_id",
        "UPDATE incarnations SET incarnation = 2",
        "ALTER TABLE entries DISABLE TRIGGER ALL",
        "CREATE TABLE mine ()",
    ] {
        let refused = sqlx::raw_sql(statement).execute(&mut runtime).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refused}");
    }
    company.finish().await;
}

#[tokio::test]
async fn every_key_of_account_data_begins_with_its_shard() {
    // Names and wallets are directories that lead to accounts; tenants are on every shard.
    const KEYS: &str = "WITH shard AS (SELECT c.oid, c.relname FROM pg_class c
            WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
                AND c.relname NOT IN ('account_names', 'wallets')
                AND 2 = (SELECT count(*) FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attname IN ('tenant_id', 'account_id'))),
        keys AS (
            SELECT i.indexrelid::regclass::text AS name, i.indrelid AS tab,
                ARRAY[i.indkey[0], i.indkey[1]]::int2[] AS columns
            FROM pg_index i JOIN shard ON shard.oid = i.indrelid WHERE i.indisunique
            UNION ALL
            SELECT k.conname, k.conrelid, k.conkey[1:2] FROM pg_constraint k
            JOIN shard ON shard.oid = k.conrelid
            WHERE k.contype = 'f' AND k.confrelid <> 'tenants'::regclass
            UNION ALL
            SELECT k.conname || ' (target)', k.confrelid, k.confkey[1:2] FROM pg_constraint k
            JOIN shard ON shard.oid = k.conrelid
            WHERE k.contype = 'f' AND k.confrelid <> 'tenants'::regclass)
        SELECT keys.name FROM keys
        WHERE ARRAY['tenant_id', 'account_id'] IS DISTINCT FROM
            (SELECT array_agg(a.attname::text ORDER BY array_position(keys.columns, a.attnum))
            FROM pg_attribute a
            WHERE a.attrelid = keys.tab AND a.attnum = ANY (keys.columns))";
    let company = Company::new().await;
    assert_eq!(offenders(&company, KEYS).await, Vec::<String>::new());
    let index = "CREATE UNIQUE INDEX by_biz_id ON reservations (tenant_id, biz_id, account_id)";
    is_seen(&company, index, KEYS, "by_biz_id").await;
    let foreign = "CREATE UNIQUE INDEX elsewhere ON account_names (account_id, tenant_id);
        ALTER TABLE outbox ADD CONSTRAINT outbox_name_fkey FOREIGN KEY (account_id, tenant_id)
            REFERENCES account_names (account_id, tenant_id)";
    is_seen(&company, foreign, KEYS, "outbox_name_fkey").await;
    company.finish().await;
}

#[tokio::test]
async fn no_index_names_the_state_of_a_reservation() {
    const INDEXES: &str = r"SELECT indexname::text FROM pg_indexes
        WHERE schemaname = 'public' AND indexdef ~ '\mstate\M'";
    let company = Company::new().await;
    assert_eq!(offenders(&company, INDEXES).await, Vec::<String>::new());
    let breakage = "CREATE INDEX by_state ON reservations (chain_id) WHERE state = 'open'";
    is_seen(&company, breakage, INDEXES, "by_state").await;
    company.finish().await;
}

#[tokio::test]
async fn every_amount_has_its_unit_in_its_name() {
    // What has no unit is named here: ids of chains, heights, sequences, counts. `valid_until` is chain time,
    // in seconds, as ERC-4337 names it.
    const AMOUNTS: &str = "SELECT a.attrelid::regclass || '.' || a.attname FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
            AND c.relname <> '_sqlx_migrations' AND a.attnum > 0
            AND a.atttypid IN ('bigint'::regtype, 'numeric'::regtype, 'double precision'::regtype,
                'real'::regtype, 'money'::regtype)
            AND NOT CASE WHEN a.atttypid = 'bigint'::regtype
                THEN a.attname ~ '(_micropoints|^micropoints_per_e18_wei|_gas_limit|_timestamp)$'
                    OR a.attname ~ '^(last_)?valid_until$'
                    OR a.attname ~ '(^|_)(seq|number|chain_id|block|count)$'
                WHEN a.atttypid = 'numeric'::regtype THEN a.attname ~ '(_wei|_gas_used)$'
                ELSE false END";
    let company = Company::new().await;
    assert_eq!(offenders(&company, AMOUNTS).await, Vec::<String>::new());
    for (breakage, offender) in [
        ("ALTER TABLE accounts ADD fee bigint", "accounts.fee"),
        ("ALTER TABLE grants ADD max_cost numeric", "grants.max_cost"),
        ("ALTER TABLE entries ADD price real", "entries.price"),
    ] {
        is_seen(&company, breakage, AMOUNTS, offender).await;
    }
    company.finish().await;
}
