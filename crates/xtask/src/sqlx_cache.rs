//! The cache of checked SQL: `crates/store/.sqlx`, from which a build without a database reads what
//! each query takes and gives.
//!
//! The queries of `store` are checked against a real PostgreSQL with the migrations applied. This is
//! the one place that migrates without `store`, because `store` may not compile before the cache is
//! written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use devstack::Tools;
use devstack::postgres::test_database;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;

use crate::Failure;
use crate::cargo::{cargo, root, run as run_command};

/// Writes the cache, or checks that it is what would be written.
pub(crate) async fn run(check: bool) -> Result<(), Failure> {
    Tools::ensure(&|line: &str| println!("{line}"))?;
    let migrations = root().join("migrations");
    let mut migrated = Ok(());
    let database = test_database(async |owner_url: String| {
        migrated = migrate(&owner_url, &migrations).await;
    })
    .await?;
    migrated?;
    let committed = root().join("crates/store/.sqlx");
    let fresh = root().join("target/sqlx-cache");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    // The queries are looked at when `store` is compiled, and cargo does not see that they ask
    // another database now.
    touch(&root().join("crates/store/src/lib.rs"))?;
    run_command(
        cargo(&["check", "--quiet", "--package", "store"])
            .env_remove("SQLX_OFFLINE")
            .env("DATABASE_URL", &database.owner_url)
            .env("SQLX_OFFLINE_DIR", &fresh),
    )?;
    let (wanted, found) = (read(&fresh)?, read(&committed)?);
    if wanted.is_empty() {
        return Err("no query was looked at".into());
    }
    if wanted == found {
        println!("{} queries, the cache is up to date", wanted.len());
        return Ok(());
    }
    if check {
        return Err(
            "crates/store/.sqlx is not what the queries need: run `cargo xtask sqlx`".into()
        );
    }
    if committed.exists() {
        fs::remove_dir_all(&committed)?;
    }
    fs::create_dir_all(&committed)?;
    for (name, content) in &wanted {
        fs::write(committed.join(name), content)?;
    }
    println!("{} queries written to crates/store/.sqlx", wanted.len());
    Ok(())
}

async fn migrate(owner_url: &str, migrations: &Path) -> Result<(), Failure> {
    let pool = PgPoolOptions::new().max_connections(1).connect(owner_url).await?;
    let outcome = Migrator::new(migrations).await?.run(&pool).await;
    pool.close().await;
    Ok(outcome?)
}

#[expect(clippy::disallowed_methods, reason = "cargo compares the times of files")]
fn touch(file: &Path) -> Result<(), Failure> {
    Ok(File::options().write(true).open(file)?.set_modified(SystemTime::now())?)
}

fn read(folder: &Path) -> Result<BTreeMap<String, String>, Failure> {
    if !folder.exists() {
        return Ok(BTreeMap::new());
    }
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("query-") {
            files.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(files)
}
