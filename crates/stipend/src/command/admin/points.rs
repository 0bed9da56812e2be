//! `stipend admin points`: how a company brings in the points that its users already have.
//!
//! The file is read twice: once to the end, so that nothing is credited from a file with a mistake in it, and once to
//! credit its lines. What is under way is held chunk by chunk, so that a file may have any length. Every line is safe by
//! its reference: an import that was ended, by whatever, is run again, and credits what is missing.

mod check;
mod fingerprints;
mod report;
mod rows;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::{hex, keccak256};
use clap::{Args, Subcommand};
use domain::TenantId;
use domain::ids::InvalidName;
use service::bulk::{Credited, Crediting, KeyedLine, LineOutcome, LineRefusal, MissingAccounts};
use store::{Store, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::command;
use fingerprints::Fingerprints;
use report::{Progress, Refused, Summary};
use rows::{Row, Rows};

/// How long the database may take for a chunk: a restart of it should not end an import of hours.
const CHUNK_TIME: Duration = Duration::from_secs(60);

/// Points that users already have.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PointsCommand {
    /// Credit the lines of a CSV file, each once. Run it again after an interruption: it goes on.
    Import(Import),
}

/// What to import.
#[derive(Clone, Debug, Args)]
pub(crate) struct Import {
    /// The file: UTF-8, a header with `external_id,amount,reason,reference` and, if wanted,
    /// `bucket,expires_at`, one credit a line.
    file: PathBuf,
    /// The company's name.
    #[arg(long)]
    pub(super) tenant: String,
    /// Say what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Make an account for every name that has none. Without it their lines are refused.
    #[arg(long)]
    create_accounts: bool,
    /// How many lines are looked up and credited together.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    batch: u16,
}

/// An import that did not do everything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{} cannot be written", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        cause: csv::Error,
    },
    #[error("temporary files cannot be used")]
    Temporary(#[source] io::Error),
    #[error("line 1: {0}")]
    Header(String),
    #[error("{count} line(s) of {} cannot be used; nothing was credited", path.display())]
    Mistakes { path: PathBuf, count: u64 },
    #[error("{} has no lines", .0.display())]
    Empty(PathBuf),
    #[error("line {0} is another than when the file was checked; run the import again")]
    Changed(u64),
    #[error("{0} line(s) were refused")]
    Refused(u64),
    #[error("{0} line(s) would be refused")]
    WouldRefuse(u64),
    #[error("stopped before line {0}; run the import again to go on")]
    Stopped(u64),
    #[error("the database did not carry out line {line}; run the import again to go on")]
    Stalled {
        line: u64,
        #[source]
        cause: Option<StoreError>,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] InvalidName),
}

/// Checks the file, and credits it or says what that would do.
pub(super) async fn import(
    store: &Store,
    tenant: TenantId,
    order: &Import,
) -> Result<(), ImportError> {
    store.check().await?;
    let stop = command::stop_on_signal()
        .map_err(|cause| ImportError::Unreadable { path: order.file.clone(), cause })?;
    let checked = check::check(&order.file, &stop)?;
    let missing =
        if order.create_accounts { MissingAccounts::Create } else { MissingAccounts::Refuse };
    let crediting = Crediting { store, tenant, missing };
    let progress = Progress::new(checked.lines);
    if order.dry_run {
        look(&crediting, order, &stop, progress).await
    } else {
        credit(&crediting, order, &stop, progress).await
    }
}

/// The next lines, all of which were good when the file was checked.
fn chunk(rows: &mut Rows, order: &Import) -> Result<Vec<Row>, ImportError> {
    let most = usize::from(order.batch);
    let mut chunk = Vec::with_capacity(most);
    while chunk.len() < most
        && let Some((line, read)) = rows.next()?
    {
        let credit = read.map_err(|_| ImportError::Changed(line))?;
        chunk.push(Row { line, credit });
    }
    Ok(chunk)
}

/// Fails where somebody asked for an end.
fn go_on(stop: &CancellationToken, line: u64) -> Result<(), ImportError> {
    if stop.is_cancelled() { Err(ImportError::Stopped(line)) } else { Ok(()) }
}

async fn credit(
    crediting: &Crediting<'_>,
    order: &Import,
    stop: &CancellationToken,
    progress: Progress,
) -> Result<(), ImportError> {
    let mut refused = Refused::beside(&order.file)?;
    let mut summary = Summary::default();
    let mut rows = Rows::open(&order.file)?;
    let ended: Result<(), ImportError> = async {
        let mut progress = progress;
        loop {
            let chunk = chunk(&mut rows, order)?;
            let Some(first) = chunk.first() else { return Ok(()) };
            go_on(stop, first.line)?;
            credit_chunk(crediting, &chunk, &mut summary, &mut refused).await?;
            progress.pass(chunk.len());
        }
    }
    .await;
    // However it ended, what was done is told.
    let path = refused.finish()?;
    summary.tell(path.as_deref());
    ended?;
    match summary.refused.lines {
        0 => Ok(()),
        lines => Err(ImportError::Refused(lines)),
    }
}

async fn credit_chunk(
    crediting: &Crediting<'_>,
    chunk: &[Row],
    summary: &mut Summary,
    refused: &mut Refused,
) -> Result<(), ImportError> {
    let lines = chunk.iter().map(keyed).collect::<Result<Vec<_>, _>>()?;
    let Credited { outcomes, trouble } =
        crediting.apply(&lines, Instant::now() + CHUNK_TIME).await?;
    let mut undone = None;
    for (row, outcome) in chunk.iter().zip(outcomes) {
        match &outcome {
            Some(LineOutcome::Applied { .. }) => summary.applied.add(&row.credit),
            Some(LineOutcome::Replayed { .. }) => summary.replayed.add(&row.credit),
            Some(LineOutcome::Refused(refusal)) => {
                summary.refused.add(&row.credit);
                refused.write(row, refusal)?;
            }
            None => undone = undone.or(Some(row.line)),
        }
    }
    match undone {
        Some(line) => Err(ImportError::Stalled { line, cause: trouble }),
        None => Ok(()),
    }
}

/// The line with a key that is the same in every run.
fn keyed(row: &Row) -> Result<KeyedLine<'_>, InvalidName> {
    let reference = hex::encode(keccak256(row.credit.reference.as_str()));
    Ok(KeyedLine { line: &row.credit, key: format!("import:{reference}").parse()? })
}

async fn look(
    crediting: &Crediting<'_>,
    order: &Import,
    stop: &CancellationToken,
    mut progress: Progress,
) -> Result<(), ImportError> {
    let mut rows = Rows::open(&order.file)?;
    let mut summary = Summary::default();
    let mut names = Fingerprints::new()?;
    loop {
        let chunk = chunk(&mut rows, order)?;
        let Some(first) = chunk.first() else { break };
        go_on(stop, first.line)?;
        let credits: Vec<_> = chunk.iter().map(|row| &row.credit).collect();
        let found = crediting.look(&credits).await?;
        for (row, destination) in chunk.iter().zip(found) {
            let differences = destination.earlier.map(|earlier| row.credit.differences(&earlier));
            let refusal = match (destination.account, differences) {
                (_, Some(fields)) if fields.is_empty() => {
                    summary.replayed.add(&row.credit);
                    continue;
                }
                (_, Some(fields)) => LineRefusal::ReferenceConflict(fields),
                (None, None) if crediting.missing == MissingAccounts::Refuse => {
                    LineRefusal::AccountNotFound
                }
                (account, None) => {
                    if account.is_none() {
                        names.add(&[row.credit.external_id.as_str()], row.line)?;
                    }
                    summary.applied.add(&row.credit);
                    continue;
                }
            };
            summary.refused.add(&row.credit);
            report::would_refuse(summary.refused.lines, row, &refusal);
        }
        progress.pass(chunk.len());
    }
    let mut new_accounts = 0_u64;
    names.each(|_| new_accounts = new_accounts.saturating_add(1))?;
    summary.tell_of_dry_run(new_accounts);
    match summary.refused.lines {
        0 => Ok(()),
        lines => Err(ImportError::WouldRefuse(lines)),
    }
}
