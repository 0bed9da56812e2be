//! `stipend admin ledger`.

mod growth;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Subcommand;
use domain::ExternalId;
use service::anchor::{self, AnchorRecord};
use store::Store;
use store::verify::{Disagreement, Progress, Scope};

use crate::config::Config;
use growth::day;

/// How often a long run says how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// The most accounts that are named; the others are counted.
const MAX_NAMED: usize = 100;

/// The journal.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Recompute balances, reservations and hash chains from the entries, beside the running service,
    /// and name the first line of each account that disagrees. Ends with 1 if one does.
    Verify {
        /// Only this company's accounts.
        #[arg(long)]
        tenant: Option<String>,
        /// Only this account of the company.
        #[arg(long, requires = "tenant")]
        account: Option<ExternalId>,
        /// Begin where each account agreed when that was last written down, and trust what was found
        /// then.
        #[arg(long)]
        from_checkpoint: bool,
        /// Write down where each account agrees now.
        #[arg(long)]
        write_checkpoints: bool,
    },
    /// Print the journal's daily anchors, one JSON line each.
    Anchors {
        /// Hold the anchors of this file against the database and the entries instead. Ends with 1 if
        /// one disagrees.
        #[arg(long, value_name = "FILE")]
        check: Option<PathBuf>,
    },
    /// Print the partitions: rows, size, and how far they are on their way to the archive.
    Partitions,
    /// Say which months would leave the database by `ledger.archive_after_days`, or let them leave: their
    /// accounts are verified, they are exported, detached, read back and dropped. A worker does the same.
    Archive {
        /// Do it.
        #[arg(long)]
        send: bool,
    },
}

/// The books or the anchors are not what they were.
#[derive(Debug, thiserror::Error)]
enum LedgerError {
    #[error("there is no tenant {0}")]
    NoTenant(String),
    #[error("the tenant has no account {0}")]
    NoAccount(ExternalId),
    #[error("{0} account(s) disagree with their entries")]
    Disagrees(usize),
    #[error("{0} finding(s): the journal is not what was anchored")]
    NotAsAnchored(usize),
    #[error("ledger.archive_after_days is not set: nothing leaves")]
    NoArchive,
    #[error("database.maintenance_url is not set: months leave as the maintenance role")]
    NoMaintenance,
    #[error("an open transaction may still see {0}: repeat this when it has ended")]
    Waits(String),
}

pub(super) async fn run(
    config: &Config,
    store: &Store,
    command: LedgerCommand,
) -> Result<(), crate::Failure> {
    match command {
        LedgerCommand::Verify { tenant, account, from_checkpoint, write_checkpoints } => {
            let mut scope = Scope { from_checkpoint, write_checkpoints, ..Scope::default() };
            if let Some(name) = tenant {
                let found = store.tenant_by_name(&name).await?;
                let tenant = found.ok_or(LedgerError::NoTenant(name))?;
                scope.tenant = Some(tenant);
                if let Some(name) = account {
                    let found = store.account_by_name(tenant, &name).await?;
                    scope.account = Some(found.ok_or(LedgerError::NoAccount(name))?);
                }
            }
            verify(store, scope).await
        }
        LedgerCommand::Anchors { check: None } => print_anchors(store).await,
        LedgerCommand::Anchors { check: Some(file) } => check_anchors(store, &file).await,
        LedgerCommand::Partitions => growth::partitions(store).await,
        LedgerCommand::Archive { send } => growth::archive(config, store, send).await,
    }
}

async fn verify(store: &Store, scope: Scope) -> Result<(), crate::Failure> {
    let clock = Clock::start();
    let report = |progress: Progress| {
        if clock.is_time_to_report() {
            let Progress { accounts, entries, .. } = progress;
            eprintln!("{accounts} accounts, {entries} entries, {}", clock.rate(entries));
        }
    };
    let mut verification = store.verification(scope);
    let mut disagreeing = 0_usize;
    while let Some(found) = verification.step(&report).await? {
        for disagreement in &found {
            disagreeing = disagreeing.saturating_add(1);
            if disagreeing <= MAX_NAMED {
                name(store, disagreement).await?;
            }
        }
    }
    let Progress { accounts, entries, from_checkpoint } = verification.progress();
    println!("{accounts} accounts, {entries} entries, {}", clock.rate(entries));
    if from_checkpoint > 0 {
        let why = match store.archived_until().await? {
            Some(until) => format!("entries before {} are in the archive", day(until)),
            None => "as asked".to_owned(),
        };
        println!("{from_checkpoint} accounts began at a checkpoint: {why}");
    }
    if disagreeing > 0 { Err(LedgerError::Disagrees(disagreeing).into()) } else { Ok(()) }
}

async fn name(store: &Store, found: &Disagreement) -> Result<(), crate::Failure> {
    let name = store.account_name(found.tenant, found.account).await?;
    let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
    println!("{found}{name}");
    Ok(())
}

async fn print_anchors(store: &Store) -> Result<(), crate::Failure> {
    for anchor in &store.anchors_after(None).await? {
        println!("{}", serde_json::to_string(&AnchorRecord::from(anchor))?);
    }
    Ok(())
}

async fn check_anchors(store: &Store, file: &Path) -> Result<(), crate::Failure> {
    let records = anchor::read_file(file)?;
    let clock = Clock::start();
    let report = |entries| {
        if clock.is_time_to_report() {
            eprintln!("{entries} entries, {}", clock.rate(entries));
        }
    };
    let anchor::Checked { wrong, archived } = anchor::check(store, &records, report).await?;
    for finding in &wrong {
        println!("{finding}");
    }
    if archived > 0 {
        println!(
            "{archived} anchors are of days whose entries are in the archive: not computed again"
        );
    }
    if wrong.is_empty() {
        println!("{} anchors agree with the entries", records.len().saturating_sub(archived));
        Ok(())
    } else {
        Err(LedgerError::NotAsAnchored(wrong.len()).into())
    }
}

/// How long a run takes, and when it last said so.
struct Clock {
    started: Instant,
    reported: Mutex<Instant>,
}

impl Clock {
    fn start() -> Self {
        let started = Instant::now();
        Self { started, reported: Mutex::new(started) }
    }

    fn is_time_to_report(&self) -> bool {
        let Ok(mut reported) = self.reported.lock() else { return false };
        let is_time = reported.elapsed() >= REPORT_INTERVAL;
        if is_time {
            *reported = Instant::now();
        }
        is_time
    }

    fn rate(&self, entries: u64) -> String {
        let elapsed = self.started.elapsed();
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = entries.saturating_mul(1_000) / millis;
        format!("{}.{:03} s ({rate} entries/s)", elapsed.as_secs(), elapsed.subsec_millis())
    }
}
