//! What a statement reads: CSV for spreadsheets, JSON for programs. One part at a time, so that the
//! same lines serve a caller who waits and a job that goes on where it was.

use domain::Points;
use domain::ledger::tcc::DbTime;
use domain::ledger::{Balances, Column, Posting};
use serde::Serialize;
use store::journal::EntryLine;
use store::statements::{Format, PartSource};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Service, ServiceError};

/// The columns of the CSV form.
const COLUMNS: [&str; 14] = [
    "seq",
    "recordedAt",
    "kind",
    "from",
    "to",
    "amount",
    "available",
    "reserved",
    "spent",
    "debt",
    "sponsorshipId",
    "reference",
    "bucket",
    "expiresAt",
];

/// With what a spreadsheet takes a text for a formula.
const FORMULA_STARTS: [char; 4] = ['=', '+', '-', '@'];

impl Service {
    /// Writes one part of a statement that waits; whether there was one. Where there was none, removes
    /// a few that are old.
    ///
    /// # Errors
    /// When the database does not carry it out; the part is written again.
    pub async fn statement_pass(&self) -> Result<bool, ServiceError> {
        let wrote = self.store.write_statement_part(|source| {
            let content = render(source);
            if content.is_none() {
                let statement = source.statement;
                tracing::error!(
                    statement = %statement.id, account = %statement.account,
                    after = statement.done_seq,
                    "lines of a statement do not add up: run `stipend admin ledger verify`"
                );
            }
            content
        });
        if wrote.await? {
            return Ok(true);
        }
        Ok(self.store.remove_old_statements().await? > 0)
    }
}

/// One part; `None` where its lines do not follow from what was before, or do not end with the closing
/// balances.
#[must_use]
pub fn render(source: &PartSource<'_>) -> Option<Vec<u8>> {
    let after = sum(source)?;
    if source.is_last() && after != source.closing {
        return None;
    }
    match source.statement.format {
        Format::Csv => csv_part(source).ok(),
        Format::Json => json_part(source).ok(),
    }
}

/// The balances after the lines, which have no gap, and each of which says what it must.
fn sum(source: &PartSource<'_>) -> Option<Balances> {
    if source.lines.is_empty() && !source.is_last() {
        return None;
    }
    let start = (source.statement.done_seq, source.before);
    let (_, after) = source.lines.iter().try_fold(start, |(seq, balances), line| {
        let seq = seq.checked_add(1)?;
        let column = |name: &str| Column::ALL.into_iter().find(|column| column.as_str() == name);
        let (from, to) = (column(&line.from)?, column(&line.to)?);
        let after = balances.after(&Posting { from, to, amount: line.amount }).ok()?;
        (line.seq == seq && line.balances == after).then_some((seq, after))
    })?;
    Some(after)
}

fn csv_part(source: &PartSource<'_>) -> Result<Vec<u8>, csv::Error> {
    let statement = source.statement;
    let mut writer = csv::Writer::from_writer(Vec::new());
    if source.is_first() {
        writer.write_record(COLUMNS)?;
        let at = timestamp(statement.period.from);
        writer.write_record(edge("opening", statement.opening_seq, at, &source.before))?;
    }
    for line in source.lines {
        let [available, reserved, spent, debt] = columns(&line.balances);
        writer.write_record([
            line.seq.to_string(),
            timestamp(line.recorded_at),
            line.kind.clone(),
            line.from.clone(),
            line.to.clone(),
            line.amount.to_string(),
            available,
            reserved,
            spent,
            debt,
            line.reservation.map(|id| id.to_string()).unwrap_or_default(),
            line.reference.as_deref().map(cell).unwrap_or_default(),
            line.lot.as_ref().map(|lot| lot.bucket.to_string()).unwrap_or_default(),
            expiry(line).unwrap_or_default(),
        ])?;
    }
    if source.is_last() {
        let at = timestamp(statement.period.until);
        writer.write_record(edge("closing", statement.closing_seq, at, &source.closing))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn edge(kind: &str, seq: i64, at: String, balances: &Balances) -> [String; 14] {
    let [available, reserved, spent, debt] = columns(balances);
    let none = String::new;
    let seq = seq.to_string();
    let kind = kind.to_owned();
    let moved = [none(), none(), none()];
    let [from, to, amount] = moved;
    let which = [none(), none(), none(), none()];
    let [reservation, reference, bucket, expires_at] = which;
    [
        seq,
        at,
        kind,
        from,
        to,
        amount,
        available,
        reserved,
        spent,
        debt,
        reservation,
        reference,
        bucket,
        expires_at,
    ]
}

/// When a line's points expire.
fn expiry(line: &EntryLine) -> Option<String> {
    line.lot.as_ref().and_then(|lot| lot.expires_at).map(timestamp)
}

fn columns(balances: &Balances) -> [String; 4] {
    let Balances { available, reserved, spent, debt } = balances;
    [available, reserved, spent, debt].map(Points::to_string)
}

/// Somebody else's text as a cell: with an apostrophe before what a spreadsheet would carry out.
fn cell(text: &str) -> String {
    let is_formula = text.trim_start().starts_with(FORMULA_STARTS);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Beginning<'a> {
    external_id: Option<&'a str>,
    from: String,
    until: String,
    opening: Edge,
}

#[derive(Serialize)]
struct Edge {
    seq: i64,
    available: Points,
    reserved: Points,
    spent: Points,
    debt: Points,
}

impl Edge {
    const fn new(seq: i64, balances: &Balances) -> Self {
        let Balances { available, reserved, spent, debt } = *balances;
        Self { seq, available, reserved, spent, debt }
    }
}

/// A line as `GET /v1/accounts/{externalId}/entries` shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    kind: &'a str,
    from: &'a str,
    to: &'a str,
    amount: Points,
    #[serde(flatten)]
    after: Edge,
    sponsorship_id: Option<domain::ReservationId>,
    reference: Option<&'a str>,
    bucket: Option<&'a str>,
    expires_at: Option<String>,
    recorded_at: String,
}

impl<'a> From<&'a EntryLine> for Line<'a> {
    fn from(line: &'a EntryLine) -> Self {
        Self {
            kind: &line.kind,
            from: &line.from,
            to: &line.to,
            amount: line.amount,
            after: Edge::new(line.seq, &line.balances),
            sponsorship_id: line.reservation,
            reference: line.reference.as_deref(),
            bucket: line.lot.as_ref().map(|lot| lot.bucket.as_str()),
            expires_at: expiry(line),
            recorded_at: timestamp(line.recorded_at),
        }
    }
}

fn json_part(source: &PartSource<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let statement = source.statement;
    let mut text = Vec::new();
    if source.is_first() {
        let beginning = Beginning {
            external_id: source.external_id,
            from: timestamp(statement.period.from),
            until: timestamp(statement.period.until),
            opening: Edge::new(statement.opening_seq, &source.before),
        };
        serde_json::to_writer(&mut text, &beginning)?;
        // The object goes on.
        text.pop();
        text.extend_from_slice(b",\"lines\":[\n");
    }
    for line in source.lines {
        if line.seq.saturating_sub(1) != statement.opening_seq {
            text.extend_from_slice(b",\n");
        }
        serde_json::to_writer(&mut text, &Line::from(line))?;
    }
    if source.is_last() {
        text.extend_from_slice(b"],\"closing\":");
        serde_json::to_writer(&mut text, &Edge::new(statement.closing_seq, &source.closing))?;
        text.extend_from_slice(b"}\n");
    }
    Ok(text)
}

/// Database time in UTC ([RFC 3339](https://www.rfc-editor.org/rfc/rfc3339)), to the microsecond.
fn timestamp(at: DbTime) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0).saturating_mul(1_000))
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}
