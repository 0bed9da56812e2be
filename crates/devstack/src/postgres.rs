//! PostgreSQL of our own: real binaries from npm, a data folder that goes away with the server, three roles.
//!
//! The server listens on loopback only, with passwords made up for the run. It refuses to run as root, so under root it runs
//! as `nobody`; when `nobody` cannot reach the checkout (one in root's home, say), the binaries are copied beside the data.

mod files;
mod test_database;
mod tuning;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

pub use test_database::{TestDatabase, test_database};
pub use tuning::{Preload, Tuning};

use crate::{
    error::{Error, Result},
    port,
    process::{Process, Spec, StopSignal},
    tools::Tools,
};

/// Login role that owns the databases and runs the migrations. It may create roles, is a member of
/// [`MAINTENANCE_GROUP`], to which it hands the partitioned tables over, and is no superuser.
pub const OWNER: &str = "stipend_owner";
/// Login role of the maintenance worker; a member of [`MAINTENANCE_GROUP`].
pub const MAINTENANCE: &str = "stipend_maintenance_login";
/// Login role of the service; a member of [`RUNTIME_GROUP`].
pub const RUNTIME: &str = "stipend_runtime_login";
/// Group that migrations grant the maintenance rights to.
pub const MAINTENANCE_GROUP: &str = "stipend_maintenance";
/// Group that migrations grant the runtime rights to.
pub const RUNTIME_GROUP: &str = "stipend_runtime";

const SUPERUSER: &str = "postgres";
const READY_SECONDS: u64 = 60;
/// A cluster that stays is given the time to write its data when it ends, and to recover after a hard end.
const KEPT_GRACE_SECONDS: u32 = 120;
const KEPT_READY_SECONDS: u64 = 600;

/// Who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The superuser, for tests that break things on purpose.
    Superuser,
    /// [`OWNER`].
    Owner,
    /// [`MAINTENANCE`].
    Maintenance,
    /// [`RUNTIME`].
    Runtime,
}

impl Role {
    /// The role's name in PostgreSQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Superuser => SUPERUSER,
            Self::Owner => OWNER,
            Self::Maintenance => MAINTENANCE,
            Self::Runtime => RUNTIME,
        }
    }
}

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// As in production: `fsync` and `synchronous_commit` on.
    #[default]
    Full,
    /// For tests that do not crash the machine: the data survives a kill of the server, not a loss of power.
    Relaxed,
}

/// How the server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether a commit waits for the disk.
    pub durability: Durability,
    /// The port, if it must be a certain one.
    pub port: Option<u16>,
    /// How many connections the server accepts.
    pub max_connections: u16,
    /// The file of the server's log.
    pub log: PathBuf,
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    folder: PathBuf,
    port: u16,
    password: String,
}

impl Postgres {
    /// Makes a new cluster in a temporary folder, starts it and creates the roles.
    ///
    /// # Errors
    /// When the binaries are missing, the server does not come up, or a statement is refused.
    pub async fn start(tools: &Tools, options: Options) -> Result<Self> {
        Self::start_tuned(tools, options, &Tuning::default()).await
    }

    /// The same for a measurement, which may ask for more.
    ///
    /// # Errors
    /// As [`Self::start`], and when a kept folder cannot be used.
    pub async fn start_tuned(tools: &Tools, options: Options, tuning: &Tuning) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once(tools, &options, tuning).await {
                Err(error)
                    if options.port.is_none()
                        && attempt < port::ATTEMPTS
                        && port::was_taken(&error) =>
                {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn start_once(tools: &Tools, options: &Options, tuning: &Tuning) -> Result<Self> {
        let port = port::wished(options.port)?;
        let (cluster, password) =
            files::Cluster::prepare(&tools.postgres()?, secret(), tuning.kept.as_deref())?;
        let mut spec = Spec::new("PostgreSQL", "/bin/sh", cluster.folder(), options.log.clone())
            .args(["-c", INIT_AND_RUN, "postgres"])
            .args([cluster.binaries(), cluster.folder()])
            .args(settings(port, options))
            .args(tuning.arguments());
        spec.env.extend(tuning.environment());
        spec.user = cluster.user();
        spec.stop_signal = StopSignal::Interrupt;
        if tuning.kept.is_some() {
            spec.grace_seconds = KEPT_GRACE_SECONDS;
        } else {
            spec.remove_after = Some(cluster.folder().to_path_buf());
        }
        let mut postgres = Self {
            process: Process::start(&spec)?,
            folder: cluster.folder().to_path_buf(),
            port,
            password,
        };
        // From here on the guard removes the folder, also when we are killed.
        cluster.hand_over();
        let url = postgres.url(Role::Superuser, SUPERUSER);
        let seconds = if tuning.kept.is_some() { KEPT_READY_SECONDS } else { READY_SECONDS };
        postgres.process.ready(seconds, async || PgConnection::connect(&url).await.is_ok()).await?;
        postgres.create_roles().await?;
        Ok(postgres)
    }

    async fn create_roles(&self) -> Result<()> {
        let password = &self.password;
        // A kept cluster has them already.
        let script = format!(
            "DO $$ BEGIN IF to_regrole('{RUNTIME}') IS NULL THEN
             CREATE ROLE {MAINTENANCE_GROUP} NOLOGIN;
             CREATE ROLE {RUNTIME_GROUP} NOLOGIN;
             CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{password}';
             GRANT {MAINTENANCE_GROUP} TO {OWNER};
             CREATE ROLE {MAINTENANCE} LOGIN PASSWORD '{password}' IN ROLE {MAINTENANCE_GROUP};
             CREATE ROLE {RUNTIME} LOGIN PASSWORD '{password}' IN ROLE {RUNTIME_GROUP};
             END IF; END $$;"
        );
        self.administer("create the roles", script).await
    }

    /// Where a role reaches a database: `postgres://role:password@127.0.0.1:port/database`.
    pub fn url(&self, role: Role, database: &str) -> String {
        format!("postgres://{}:{}@127.0.0.1:{}/{database}", role.name(), self.password, self.port)
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates an empty database that belongs to [`OWNER`]. The name is taken as it is, so it must be a plain identifier.
    ///
    /// # Errors
    /// When it exists already.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        let statement = format!("CREATE DATABASE \"{name}\" OWNER {OWNER}");
        self.administer("create a database", statement).await
    }

    /// The server's folder, which goes away with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    async fn copy_database(&self, template: &str, name: &str) -> Result<()> {
        let statement = format!(
            "CREATE DATABASE \"{name}\" TEMPLATE \"{template}\" OWNER {OWNER} STRATEGY file_copy"
        );
        self.administer("copy a database", statement).await
    }

    async fn administer(&self, doing: &'static str, script: String) -> Result<()> {
        let refused = |source| Error::Database { doing: doing.to_owned(), source };
        let url = self.url(Role::Superuser, SUPERUSER);
        let mut connection = PgConnection::connect(&url).await.map_err(refused)?;
        // The only text in these scripts that is not ours is a database name that a test chose.
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.map_err(refused)?;
        connection.close().await.map_err(refused)
    }

    /// The server's process, for tests that crash it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends the server without waiting for its clients, and removes its data.
    ///
    /// # Errors
    /// When the system cannot tell us about the server.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop().await
    }
}

/// `$1` binaries, `$2` folder, then the server's settings. One child does both steps, so that the guard covers them
/// both and a failure of either ends the child and is in its log.
const INIT_AND_RUN: &str = r#"
binaries=$1 folder=$2
shift 2
[ -s "$folder/data/PG_VERSION" ] ||
"$binaries/bin/initdb" --pgdata "$folder/data" --username postgres --pwfile "$folder/password" \
  --auth scram-sha-256 --encoding UTF8 --locale-provider builtin --builtin-locale C.UTF-8 --locale C \
  --no-instructions --no-sync &&
exec "$binaries/bin/postgres" -D "$folder/data" "$@"
"#;

fn settings(port: u16, options: &Options) -> Vec<String> {
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        format!("port={port}"),
        format!("max_connections={}", options.max_connections),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
    ];
    match options.durability {
        Durability::Full => {}
        Durability::Relaxed => settings.extend(
            ["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned),
        ),
    }
    settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
}

/// A password for one run. The server listens on loopback for the length of the run.
fn secret() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// A name that no other database of this process has.
fn unique_name(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
