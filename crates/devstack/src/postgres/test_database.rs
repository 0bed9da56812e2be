//! A fresh, migrated database for each test, on one server for each test process.

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

use super::{Durability, Options, Postgres, Role, unique_name};
use crate::{
    error::{Error, Result},
    run::Run,
    tools::Tools,
};

const BACKDATE: &str = include_str!("backdate.sql");
const TEMPLATE: &str = "stipend_template";

/// One test's own database. It lives as long as the server of its test process.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    /// Its name on the server.
    pub name: String,
    /// For the superuser.
    pub superuser_url: String,
    /// For [`super::OWNER`].
    pub owner_url: String,
    /// For [`super::MAINTENANCE`].
    pub maintenance_url: String,
    /// For [`super::RUNTIME`].
    pub runtime_url: String,
}

impl TestDatabase {
    fn new(server: &Postgres, name: String) -> Self {
        Self {
            superuser_url: server.url(Role::Superuser, &name),
            owner_url: server.url(Role::Owner, &name),
            maintenance_url: server.url(Role::Maintenance, &name),
            runtime_url: server.url(Role::Runtime, &name),
            name,
        }
    }
}

impl TestDatabase {
    /// Moves everything that the ledger has recorded so far by so many days into the past, as if it had been recorded
    /// then: times, ids, hashes, and the partitions for them.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn backdate(&self, days: u32) -> Result<()> {
        let refused = |source| Error::Database { doing: "backdate".to_owned(), source };
        let mut superuser = PgConnection::connect(&self.superuser_url).await.map_err(refused)?;
        let span = format!("SELECT set_config('backdate.days', '{days}', false)");
        sqlx::raw_sql(AssertSqlSafe(span)).execute(&mut superuser).await.map_err(refused)?;
        sqlx::raw_sql(BACKDATE).execute(&mut superuser).await.map_err(refused)?;
        superuser.close().await.map_err(refused)
    }
}

/// A new database with the schema that `migrate` makes.
///
/// The first call of a test process starts the server and calls `migrate` with the owner's URL of the template database; later
/// calls copy the template, which takes some tens of milliseconds. `migrate` must close its connections, because a
/// database in use cannot be copied. The server ends with the test process, however that ends.
///
/// # Errors
/// When the server does not come up or refuses a statement.
///
/// # Panics
/// `migrate` reports its failures by panicking, as a test does; the next test then tries again.
pub async fn test_database(migrate: impl AsyncFnOnce(String)) -> Result<TestDatabase> {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    static MIGRATED: OnceCell<()> = OnceCell::const_new();

    let server = SERVER.get_or_try_init(start).await?;
    MIGRATED
        .get_or_try_init(async || {
            // A failed attempt may have left a half-made template.
            server
                .administer(
                    "drop the template",
                    format!("DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)"),
                )
                .await?;
            server.create_database(TEMPLATE).await?;
            migrate(server.url(Role::Owner, TEMPLATE)).await;
            Ok::<(), crate::Error>(())
        })
        .await?;
    let name = unique_name("stipend_test");
    server.copy_database(TEMPLATE, &name).await?;
    Ok(TestDatabase::new(server, name))
}

async fn start() -> Result<Postgres> {
    let tools = tokio::task::spawn_blocking(|| Tools::ensure(&|line| tracing::info!("{line}")))
        .await
        .map_err(|error| crate::Error::Io {
            doing: "install the tools".to_owned(),
            source: std::io::Error::other(error),
        })??;
    let run = Run::begin(&tools)?;
    let options = Options {
        durability: Durability::Relaxed,
        port: None,
        max_connections: 300,
        log: run.log("postgres"),
    };
    Postgres::start(&tools, options).await
}
