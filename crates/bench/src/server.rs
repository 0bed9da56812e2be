//! The server under measurement: its databases, its settings, and what it spends.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use url::Url;

use crate::Failure;
use crate::figures;

/// The latency that a delayed cell adds to each commit, in microseconds.
pub(crate) const ADDED_MICROS: u32 = 1_000;

/// The settings that a reader of the figures wants to know.
const SHOWN: [&str; 17] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "wal_sync_method",
    "full_page_writes",
    "wal_level",
    "wal_compression",
    "data_checksums",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "commit_delay",
    "autovacuum",
    "plan_cache_mode",
    "jit",
    "max_connections",
    "io_method",
];
/// What must be so, because otherwise no commit would wait for the disk, or not in the call that is slowed down.
const REQUIRED: [(&str, &str); 4] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("wal_sync_method", "fdatasync"),
];

/// Where the server is reached, without a database.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) superuser: Url,
    pub(crate) owner: Url,
    pub(crate) runtime: Url,
}

/// An address of one database.
pub(crate) fn at(address: &Url, database: &str) -> String {
    let mut address = address.clone();
    address.set_path(database);
    address.into()
}

/// What a server had spent at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// CPU time of all its processes, in nanoseconds.
    pub(crate) cpu_nanos: u64,
    /// Write-ahead log, in bytes.
    pub(crate) wal_bytes: u64,
    /// Size of the database, in bytes.
    pub(crate) disk_bytes: u64,
}

impl Sample {
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu_nanos: self.cpu_nanos.saturating_sub(earlier.cpu_nanos),
            wal_bytes: self.wal_bytes.saturating_sub(earlier.wal_bytes),
            disk_bytes: self.disk_bytes.saturating_sub(earlier.disk_bytes),
        }
    }
}

/// The server, with a connection of the superuser's.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) addresses: Addresses,
    admin: PgConnection,
    postmaster: u32,
    delay: PathBuf,
}

impl Server {
    pub(crate) async fn connect(addresses: Addresses, delay: PathBuf) -> Result<Self, Failure> {
        let mut admin = PgConnection::connect(&at(&addresses.superuser, "postgres")).await?;
        let backend: i32 =
            sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut admin).await?;
        let postmaster = Process::read(u32::try_from(backend)?)
            .ok_or("the server's processes are not on this machine")?
            .parent;
        let mut server = Self { addresses, admin, postmaster, delay };
        server.set_delayed(false)?;
        Ok(server)
    }

    /// A statement that only the superuser may run, on the server's own database.
    pub(crate) async fn execute(&mut self, statement: String) -> Result<(), Failure> {
        // The names in these statements are ours.
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.admin).await?;
        Ok(())
    }

    pub(crate) async fn has_database(&mut self, name: &str) -> Result<bool, Failure> {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(name)
            .fetch_one(&mut self.admin)
            .await?)
    }

    pub(crate) async fn create_database(&mut self, name: &str) -> Result<(), Failure> {
        self.execute(format!("CREATE DATABASE {name} OWNER stipend_owner")).await
    }

    /// Through the log, because a copy of files begins and ends with a checkpoint.
    pub(crate) async fn copy_database(
        &mut self,
        template: &str,
        name: &str,
    ) -> Result<(), Failure> {
        let owner = "OWNER stipend_owner STRATEGY wal_log";
        self.execute(format!("CREATE DATABASE {name} TEMPLATE {template} {owner}")).await
    }

    pub(crate) async fn drop_database(&mut self, name: &str) -> Result<(), Failure> {
        self.execute(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
    }

    /// Makes every commit take a millisecond longer, or no longer.
    pub(crate) fn set_delayed(&mut self, delayed: bool) -> Result<(), Failure> {
        let micros = if delayed { ADDED_MICROS } else { 0 };
        // In place: the server has the file mapped.
        let mut file = fs::File::options().write(true).open(&self.delay)?;
        file.write_all(&micros.to_ne_bytes())?;
        Ok(())
    }

    /// The settings, and an error where one is not as an honest figure needs it.
    pub(crate) async fn settings(&mut self) -> Result<Vec<(String, String)>, Failure> {
        let mut settings = Vec::with_capacity(SHOWN.len());
        for name in SHOWN {
            let value: Option<String> = sqlx::query_scalar("SELECT current_setting($1, true)")
                .bind(name)
                .fetch_one(&mut self.admin)
                .await?;
            settings.push((name.to_owned(), value.unwrap_or_default()));
        }
        for (name, wanted) in REQUIRED {
            let found = settings.iter().find(|(found, _)| found == name);
            if found.is_none_or(|(_, value)| value != wanted) {
                return Err(format!("{name} is {found:?}, and must be {wanted}").into());
            }
        }
        Ok(settings)
    }

    /// Half of the commits of one row take so many microseconds or less.
    ///
    /// # Errors
    /// When a delayed commit does not take the added time: the server does not see the delay.
    pub(crate) async fn commit_micros(&mut self, delayed: bool) -> Result<u64, Failure> {
        self.set_delayed(delayed)?;
        self.execute("CREATE TABLE IF NOT EXISTS bench_commits (id int NOT NULL)".to_owned())
            .await?;
        let mut micros = Vec::new();
        for id in 0..200 {
            let start = Instant::now();
            sqlx::query("INSERT INTO bench_commits VALUES ($1)")
                .bind(id)
                .execute(&mut self.admin)
                .await?;
            micros.push(figures::micros(start.elapsed()));
        }
        self.set_delayed(false)?;
        micros.sort_unstable();
        let quickest = micros.first().copied().unwrap_or_default();
        if delayed && quickest < ADDED_MICROS.into() {
            return Err(format!(
                "a commit took {quickest} µs with {ADDED_MICROS} µs added: the server does not see the delay"
            )
            .into());
        }
        Ok(figures::percentile(&micros, 50))
    }

    /// What the server has spent so far, and how large a database of it is.
    pub(crate) async fn sample(&mut self, database: &str) -> Result<Sample, Failure> {
        let cpu_nanos = self.cpu_nanos()?;
        let row = sqlx::query(
            "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_database_size($1)",
        )
        .bind(database)
        .fetch_one(&mut self.admin)
        .await?;
        Ok(Sample {
            cpu_nanos,
            wal_bytes: u64::try_from(row.try_get::<i64, _>(0)?)?,
            disk_bytes: u64::try_from(row.try_get::<i64, _>(1)?)?,
        })
    }

    /// Of the postmaster's children that live now. Those that ended took theirs with them; a load's connections stay.
    fn cpu_nanos(&self) -> Result<u64, Failure> {
        let mut nanos = 0;
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            nanos += Process::read(id)
                .filter(|process| process.parent == self.postmaster)
                .map_or(0, |process| process.cpu_nanos);
        }
        if nanos == 0 {
            return Err("the system does not say what CPU time the server's processes took".into());
        }
        Ok(nanos)
    }
}

/// A process, as the kernel shows it.
struct Process {
    parent: u32,
    cpu_nanos: u64,
}

impl Process {
    /// `None` where it has ended.
    fn read(id: u32) -> Option<Self> {
        let folder = Path::new("/proc").join(id.to_string());
        // The program's name, in brackets, may hold anything; behind it come the state and the parent.
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        let schedule = fs::read_to_string(folder.join("schedstat")).ok()?;
        let cpu_nanos = schedule.split_whitespace().next()?.parse().ok()?;
        Some(Self { parent, cpu_nanos })
    }
}
