//! Anchoring the journal outside the database: once a day, one hash over where every account stood.
//!
//! A worker computes it a page of accounts at a time and keeps it in the database, once a day whoever
//! comes first. Every worker that was given a file copies what the file lacks to it, so that a worker
//! that died in between leaves no gap, and each operator's file is whole. The file is the proof; keep
//! it where nobody who can write to the database can write.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use alloy_primitives::B256;
use domain::ledger::tcc::DbTime;
use domain::merkle::{Leaf, Tree};
use serde::{Deserialize, Serialize};
use store::anchors::{AccountKey, Anchor, AnchoredLine, beginning_of};
use store::{Store, StoreError};
use time::Date;
use time::format_description::well_known::Iso8601;

use crate::{Service, ServiceError};

/// The most lines of a file that are read: more than ten years, and copies.
const MAX_LINES: usize = 100_000;

/// One line of an anchor file, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnchorRecord {
    /// The day (UTC), as `2025-01-31`: what was recorded before it is covered.
    pub day: String,
    /// The Merkle root over the heads of all accounts that had an entry.
    pub root: B256,
    /// How many these are.
    pub accounts: u64,
    /// How many entries they had.
    pub entries: u64,
    /// The life of the database that it was computed in.
    pub incarnation: i32,
}

impl From<&Anchor> for AnchorRecord {
    fn from(anchor: &Anchor) -> Self {
        Self {
            day: anchor.day.to_string(),
            root: anchor.root,
            accounts: anchor.accounts,
            entries: anchor.entries,
            incarnation: anchor.incarnation.0,
        }
    }
}

impl AnchorRecord {
    /// The day as a date.
    #[must_use]
    pub fn date(&self) -> Option<Date> {
        Date::parse(&self.day, &Iso8601::DATE).ok()
    }
}

/// An anchor file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorFileError {
    /// The file system refuses.
    #[error("the anchor file cannot be used")]
    Io(#[from] std::io::Error),
    /// A line that is no anchor.
    #[error("line {line} of the anchor file is no anchor")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A day that is being anchored, between two pages.
#[derive(Debug, Default)]
pub struct Anchoring {
    current: Option<Day>,
}

#[derive(Debug)]
struct Day {
    day: Date,
    tree: Tree,
    entries: u64,
    after: Option<AccountKey>,
}

impl Day {
    const fn new(day: Date) -> Self {
        Self { day, tree: Tree::new(), entries: 0, after: None }
    }

    fn push(&mut self, leaf: &Leaf) {
        self.tree.push(leaf);
        self.entries = self.entries.saturating_add(u64::try_from(leaf.seq).unwrap_or(0));
    }
}

impl Service {
    /// Anchors a page of accounts of the day, if it is not anchored yet; whether there was one.
    ///
    /// # Errors
    /// When the database does not carry it out; the page is read again.
    pub async fn anchor_pass(&self, anchoring: &mut Anchoring) -> Result<bool, ServiceError> {
        let day = match &mut anchoring.current {
            Some(day) => day,
            None => match self.store.day_to_anchor().await? {
                Some(day) => anchoring.current.insert(Day::new(day)),
                None => return Ok(false),
            },
        };
        let (leaves, last) = self.store.heads_before(day.day, day.after).await?;
        leaves.iter().for_each(|leaf| day.push(leaf));
        if last.is_some() {
            day.after = last;
            return Ok(true);
        }
        let (accounts, root) = (day.tree.leaves(), day.tree.root());
        if self.store.keep_anchor(day.day, accounts, day.entries, root).await? {
            tracing::info!(day = %day.day, %root, accounts, entries = day.entries, "journal anchored");
        }
        anchoring.current = None;
        Ok(true)
    }

    /// Adds to an anchor file the anchors that it lacks behind its last; how many.
    ///
    /// # Errors
    /// When the file cannot be written, or the database does not answer.
    pub async fn copy_anchors(&self, path: &Path) -> Result<usize, AnchorFileError> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        // Two workers of one host may have the same file.
        file.lock()?;
        let last = records(&mut file)?.iter().filter_map(AnchorRecord::date).max();
        let missing = self.store.anchors_after(last).await?;
        let mut text = Vec::new();
        for anchor in &missing {
            serde_json::to_writer(&mut text, &AnchorRecord::from(anchor))
                .map_err(std::io::Error::from)?;
            text.push(b'\n');
        }
        if !text.is_empty() {
            file.write_all(&text)?;
            file.sync_data()?;
        }
        Ok(missing.len())
    }
}

/// The anchors of a file, in its order.
///
/// # Errors
/// When it cannot be read, or a line is no anchor.
pub fn read_file(path: &Path) -> Result<Vec<AnchorRecord>, AnchorFileError> {
    records(&mut File::open(path)?)
}

fn records(file: &mut File) -> Result<Vec<AnchorRecord>, AnchorFileError> {
    file.seek(SeekFrom::Start(0))?;
    let lines = BufReader::new(file).lines().take(MAX_LINES).zip(1..);
    lines
        .map(|(text, line)| {
            serde_json::from_str(&text?).map_err(|_| AnchorFileError::Line { line })
        })
        .collect()
}

/// What came of holding anchors against the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What does not agree, in words.
    pub wrong: Vec<String>,
    /// How many anchors are of days whose entries have left for the archive: only their rows were compared.
    pub archived: usize,
}

/// Holds anchors that were kept outside against the database: its own rows, and the entries. `on_page`
/// hears how many entries were read.
///
/// # Errors
/// When the database does not carry it out.
pub async fn check(
    store: &Store,
    records: &[AnchorRecord],
    on_page: impl Fn(u64),
) -> Result<Checked, StoreError> {
    let mut wrong = rows_agree(store, records).await?;
    let mut days: Vec<Boundary> = records.iter().filter_map(Boundary::of).collect();
    days.sort_unstable_by_key(|day| day.beginning);
    let mut journal = Journal { days, current: None, reached: 0 };
    let mut after = None;
    let mut read = 0_u64;
    loop {
        let lines = store.anchored_lines(after).await?;
        let Some(last) = lines.last() else { break };
        after = Some(last.leaf);
        lines.iter().for_each(|line| journal.line(line));
        read = read.saturating_add(u64::try_from(lines.len()).unwrap_or(0));
        on_page(read);
    }
    journal.end_account();
    // Looked at after the entries: what was there then was not archived before. As a month's end stood, so
    // stood its accounts' checkpoints.
    let archived_until = store.archived_until().await?;
    let is_archived = |day: &&Boundary| archived_until.is_some_and(|until| day.beginning < until);
    let archived = journal.days.iter().filter(is_archived).count();
    for day in journal.days.iter().filter(|day| !is_archived(day)) {
        let found = (day.now.tree.root(), day.now.tree.leaves(), day.now.entries);
        if found != (day.record.root, day.record.accounts, day.record.entries) {
            wrong.push(format!(
                "{}: the entries have root {} over {} accounts and {} entries, anchored was {} over {} and {}",
                day.record.day, found.0, found.1, found.2,
                day.record.root, day.record.accounts, day.record.entries
            ));
        }
    }
    Ok(Checked { wrong, archived })
}

/// Whether the database's own anchors are those of the file, and none is missing between its first and
/// its last.
async fn rows_agree(store: &Store, records: &[AnchorRecord]) -> Result<Vec<String>, StoreError> {
    let rows = store.anchors_after(None).await?;
    let mut wrong = Vec::new();
    for record in records {
        let row = rows.iter().map(AnchorRecord::from).find(|row| row.day == record.day);
        match row {
            _ if record.date().is_none() => wrong.push(format!("{}: this is no day", record.day)),
            None => wrong.push(format!("{}: the database has lost this anchor", record.day)),
            Some(row) if row != *record => wrong.push(format!(
                "{}: the database says root {}, anchored was {}",
                record.day, row.root, record.root
            )),
            Some(_) => {}
        }
    }
    let days = || records.iter().filter_map(AnchorRecord::date);
    let (Some(first), Some(last)) = (days().min(), days().max()) else { return Ok(wrong) };
    let between = rows.iter().filter(|row| row.day > first && row.day < last);
    let missing = between.filter(|row| !days().any(|day| day == row.day));
    wrong.extend(missing.map(|row| format!("{}: the file lacks this anchor", row.day)));
    Ok(wrong)
}

/// One anchored day, computed anew.
struct Boundary {
    record: AnchorRecord,
    beginning: DbTime,
    now: Day,
}

impl Boundary {
    fn of(record: &AnchorRecord) -> Option<Self> {
        let day = record.date()?;
        Some(Self { record: record.clone(), beginning: beginning_of(day)?, now: Day::new(day) })
    }
}

/// All days at once, in one pass over all entries.
struct Journal {
    days: Vec<Boundary>,
    /// The last line that was seen, of the account that is being read.
    current: Option<Leaf>,
    /// How many of the days begin before the next line of that account.
    reached: usize,
}

impl Journal {
    fn line(&mut self, line: &AnchoredLine) {
        let key = |leaf: &Leaf| (leaf.tenant, leaf.account);
        if self.current.is_some_and(|current| key(&current) != key(&line.leaf)) {
            self.end_account();
        }
        self.pass(|day| day.beginning <= line.recorded_at);
        self.current = Some(line.leaf);
    }

    fn end_account(&mut self) {
        self.pass(|_| true);
        self.current = None;
        self.reached = 0;
    }

    /// The last line that was seen is the account's head on the days that are over by now.
    fn pass(&mut self, is_over: impl Fn(&Boundary) -> bool) {
        while let Some(day) = self.days.get_mut(self.reached).filter(|day| is_over(day)) {
            if let Some(head) = &self.current {
                day.now.push(head);
            }
            self.reached = self.reached.saturating_add(1);
        }
    }
}
