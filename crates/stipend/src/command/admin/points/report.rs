//! What an import says: progress to standard error, the summary to standard output, refused lines to a file.

use core::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use service::bulk::{CreditLine, LineRefusal};

use super::ImportError;
use super::rows::{COLUMNS, MORE_COLUMNS, REPORT_COLUMNS, Row};

/// The pause between two lines of progress.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);
/// How many lines that would be refused are told.
const MOST_TOLD: u64 = 100;
const MICROPOINTS: u128 = 1_000_000;

/// Credits of one outcome.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) lines: u64,
    /// More than one account can ever hold.
    micropoints: u128,
}

impl Tally {
    pub(super) fn add(&mut self, credit: &CreditLine) {
        self.lines = self.lines.saturating_add(1);
        self.micropoints = self.micropoints.saturating_add(credit.amount.micropoints().into());
    }

    const fn and(self, other: Self) -> Self {
        Self {
            lines: self.lines.saturating_add(other.lines),
            micropoints: self.micropoints.saturating_add(other.micropoints),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.micropoints / MICROPOINTS, self.micropoints % MICROPOINTS);
        write!(f, "{} lines, {whole}", self.lines)?;
        if fraction > 0 {
            write!(f, ".{}", format!("{fraction:06}").trim_end_matches('0'))?;
        }
        f.write_str(" points")
    }
}

/// What became of the lines, or would.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Summary {
    pub(super) applied: Tally,
    pub(super) replayed: Tally,
    pub(super) refused: Tally,
}

impl Summary {
    pub(super) fn tell(&self, refused: Option<&Path>) {
        println!("{}", self.applied.and(self.replayed).and(self.refused));
        println!("  applied: {}", self.applied);
        println!("  replayed, credited before: {}", self.replayed);
        match refused {
            Some(path) => println!("  refused: {}, see {}", self.refused, path.display()),
            None => println!("  refused: {}", self.refused),
        }
    }

    pub(super) fn tell_of_dry_run(&self, new_accounts: u64) {
        let all = self.applied.and(self.replayed).and(self.refused);
        println!("dry run, nothing is changed: {all}");
        println!("  to be credited: {}", self.applied);
        println!("  credited before: {}", self.replayed);
        println!("  to be refused: {}", self.refused);
        println!("  new accounts: {new_accounts}");
    }
}

/// Tells that a line would be refused, unless very many were told.
pub(super) fn would_refuse(number: u64, row: &Row, refusal: &LineRefusal) {
    if number <= MOST_TOLD {
        eprintln!("line {}: {}: {refusal}", row.line, refusal.code());
    }
}

/// How far it is.
pub(super) struct Progress {
    total: u64,
    done: u64,
    started: Instant,
    told: Instant,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        let now = Instant::now();
        Self { total, done: 0, started: now, told: now }
    }

    /// So many more lines are done.
    pub(super) fn pass(&mut self, lines: usize) {
        self.done = self.done.saturating_add(u64::try_from(lines).unwrap_or(u64::MAX));
        if self.told.elapsed() < PROGRESS_PAUSE {
            return;
        }
        self.told = Instant::now();
        let millis = self.started.elapsed().as_millis().max(1);
        let (done, total) = (u128::from(self.done), u128::from(self.total));
        let per_second = done.saturating_mul(1_000) / millis;
        let left = total.saturating_sub(done).saturating_mul(millis) / done.max(1) / 1_000;
        let percent = done.saturating_mul(100) / total.max(1);
        eprintln!("{done} of {total} lines ({percent} %), {per_second} lines/s, {left} s left");
    }
}

/// The file of refused lines, which begins to exist with the first.
pub(super) struct Refused {
    path: PathBuf,
    output: Option<csv::Writer<File>>,
}

impl Refused {
    /// `points.refused.csv` beside `points.csv`. What an earlier run left there is old.
    pub(super) fn beside(file: &Path) -> Result<Self, ImportError> {
        let path = file.with_extension("refused.csv");
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(ImportError::Unwritable { path, cause: cause.into() })
            }
            Ok(()) | Err(_) => Ok(Self { path, output: None }),
        }
    }

    pub(super) fn write(&mut self, row: &Row, refusal: &LineRefusal) -> Result<(), ImportError> {
        let written = self.try_write(row, refusal);
        written.map_err(|cause| ImportError::Unwritable { path: self.path.clone(), cause })
    }

    fn try_write(&mut self, row: &Row, refusal: &LineRefusal) -> csv::Result<()> {
        let output = match &mut self.output {
            Some(output) => output,
            empty => {
                let mut output = csv::Writer::from_path(&self.path)?;
                output.write_record(COLUMNS.iter().chain(&MORE_COLUMNS).chain(&REPORT_COLUMNS))?;
                empty.insert(output)
            }
        };
        let CreditLine { external_id, amount, lot, reason, reference } = &row.credit;
        let (bucket, expires_at) =
            lot.as_ref().map(|lot| (lot.bucket.as_str(), lot.expires_at)).unzip();
        output.write_record([
            external_id.as_str(),
            &amount.to_string(),
            reason,
            reference.as_str(),
            bucket.unwrap_or_default(),
            &expires_at.flatten().map(service::lot::written).unwrap_or_default(),
            &row.line.to_string(),
            refusal.code(),
            &refusal.to_string(),
        ])
    }

    /// Writes what is left; where the file is, if there is one.
    pub(super) fn finish(self) -> Result<Option<PathBuf>, ImportError> {
        let Some(mut output) = self.output else { return Ok(None) };
        match output.flush() {
            Ok(()) => Ok(Some(self.path)),
            Err(cause) => Err(ImportError::Unwritable { path: self.path, cause: cause.into() }),
        }
    }
}
