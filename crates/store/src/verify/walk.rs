//! What one account's rows must say: pure, from raw columns, so that a row which breaks the rules of
//! its types is named like any other.

use std::collections::HashMap;

use alloy_primitives::B256;
use domain::ledger::buckets::Lot;
use domain::ledger::journal::{self, Entry, EntryKind, Head, Incarnation, Line};
use domain::ledger::tcc::DbTime;
use domain::ledger::{Balances, Column, Posting};
use domain::{AccountId, Points, ReservationId, TenantId};
use uuid::Uuid;

use super::lot_rows::{LegRow, LotRow};
use super::lots::{Differing, LotSums};
use super::rows::{AccountRow, BALANCES, EntryRow, ReservationRow};
use super::{Checked, Disagreement};
use crate::codec;

/// How many reservations of one account are held against their entries one by one. Above it the
/// account's reservations are compared by their sums, so that memory stays bounded (about 100 MB).
const MAX_TRACKED: usize = 1_000_000;

/// What a reservation has done to two columns, in micropoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    reserved: i128,
    spent: i128,
}

impl Effect {
    fn of(row: &EntryRow) -> Self {
        let amount = i128::from(row.amount_micropoints);
        let moved = |column: Column| {
            let enters = if row.to_column == column.as_str() { amount } else { 0 };
            let leaves = if row.from_column == column.as_str() { amount } else { 0 };
            enters - leaves
        };
        Self { reserved: moved(Column::Reserved), spent: moved(Column::Spent) }
    }

    /// What a reservation's own row says that it holds and has spent.
    fn told_by(row: &ReservationRow) -> Self {
        let from_reserved = i128::from(row.from_reserved);
        let settled = i128::from(row.settled);
        match row.state.as_str() {
            "open" => Self { reserved: i128::from(row.reserved), spent: 0 },
            "settled_provisional" if row.was_open => {
                Self { reserved: i128::from(row.reserved) - from_reserved, spent: settled }
            }
            "settled_provisional" | "settled_final" => Self { reserved: 0, spent: settled },
            _ => Self::default(),
        }
    }

    fn add(&mut self, other: Self) {
        self.reserved += other.reserved;
        self.spent += other.spent;
    }

    fn less(self, other: Self) -> Self {
        Self { reserved: self.reserved - other.reserved, spent: self.spent - other.spent }
    }
}

/// Effects of reservations by their ids.
pub(super) type Effects = HashMap<Uuid, Effect>;

/// Adds what an entry did to its reservation.
pub(super) fn note(effects: &mut Effects, row: &EntryRow) {
    if let Some(reservation) = row.reservation_id {
        effects.entry(reservation).or_default().add(Effect::of(row));
    }
}

/// One account, recomputed line by line.
pub(super) struct Walk {
    tenant: TenantId,
    account: AccountId,
    head: Head,
    time: Option<DbTime>,
    /// By reservation; `None` where only sums are compared.
    effects: Option<Effects>,
    rows: Effect,
    /// `None` where earlier lines are not read: a checkpoint does not say what lots held.
    lots: Option<LotSums>,
}

impl Walk {
    /// From an account's first line.
    pub(super) fn from_the_start(tenant: TenantId, account: AccountId) -> Self {
        let head = Head::new(tenant, account);
        let effects = Some(Effects::new());
        let (rows, lots) = (Effect::default(), Some(LotSums::default()));
        Self { tenant, account, head, time: None, effects, rows, lots }
    }

    /// From where it agreed before: what the lines up to there did to each reservation is not known.
    pub(super) fn from_checkpoint(
        tenant: TenantId,
        account: AccountId,
        head: Head,
        time: DbTime,
    ) -> Self {
        let rows = Effect::default();
        Self { tenant, account, head, time: Some(time), effects: None, rows, lots: None }
    }

    /// The same, where so much was spent by reservations that left the database: their lines cannot be held
    /// against them one by one.
    pub(super) fn with_spent_away(mut self, micropoints: i64) -> Self {
        self.rows.spent += i128::from(micropoints);
        self.effects = None;
        self
    }

    /// A walk from a checkpoint, if the line there, where there still is one, has the same hash.
    pub(super) fn checked_against(self, line_hash: Option<&[u8]>) -> Checked<Self> {
        match line_hash {
            Some(found) if found != self.head.hash.as_slice() => {
                let (expected, found) = (self.head.hash.to_string(), hex(found));
                let seq = Some(self.head.seq);
                let differing = self.disagreement("entry_hash", expected, found);
                Err(Box::new(Disagreement { seq, ..*differing }))
            }
            _ => Ok(self),
        }
    }

    pub(super) const fn key(&self) -> (TenantId, AccountId) {
        (self.tenant, self.account)
    }

    pub(super) const fn seq(&self) -> i64 {
        self.head.seq
    }

    pub(super) const fn head(&self) -> &Head {
        &self.head
    }

    pub(super) const fn time(&self) -> Option<DbTime> {
        self.time
    }

    /// The next line, as it should be.
    ///
    /// # Errors
    /// The first field that is not.
    pub(super) fn line(&mut self, row: &EntryRow) -> Checked<()> {
        let seq = self.head.seq.saturating_add(1);
        let at = |field, expected: String, found: String| {
            let seq = Some(seq);
            Box::new(Disagreement { seq, ..*self.disagreement(field, expected, found) })
        };
        if row.seq != seq {
            return Err(at("seq", seq.to_string(), row.seq.to_string()));
        }
        let (line, posting, lot) = parse(row).map_err(|(field, expected)| {
            let found = if field == "amount" {
                row.amount_micropoints.to_string()
            } else {
                field_of(row, field)
            };
            at(field, expected.to_owned(), found)
        })?;
        let balances = self.head.balances.after(&posting).map_err(|refusal| {
            at("amount", "what the balances can bear".to_owned(), refusal.to_string())
        })?;
        let computed = columns(&balances);
        for ((name, expected), found) in BALANCES.into_iter().zip(computed).zip(row.balances) {
            if expected != found {
                return Err(at(name, points(expected), points(found)));
            }
        }
        if let Some(before) = self.time.filter(|before| line.recorded_at < *before) {
            let (before, found) = (before.0.to_string(), line.recorded_at.0.to_string());
            return Err(at("recorded_at", format!("{before} or later"), found));
        }
        let recorded_at = line.recorded_at;
        let hash = journal::hash(
            &self.head.hash,
            &Entry { seq, line, posting, lot, balances, hash: B256::ZERO },
        );
        if row.entry_hash != hash.as_slice() {
            return Err(at("entry_hash", hash.to_string(), hex(&row.entry_hash)));
        }
        self.head = Head { seq, hash, balances };
        self.time = Some(recorded_at);
        if let Some(lots) = &mut self.lots {
            lots.line(row);
        }
        if let Some(effects) = &mut self.effects {
            note(effects, row);
            if effects.len() > MAX_TRACKED {
                self.effects = None;
            }
        }
        Ok(())
    }

    /// The account's own row, held against its last line.
    pub(super) fn account_row(&self, row: &AccountRow) -> Checked<()> {
        let (expected, found) = (self.head.seq, row.entry_seq);
        if expected != found {
            return Err(self.disagreement("entry_seq", expected.to_string(), found.to_string()));
        }
        if row.entry_hash != self.head.hash.as_slice() {
            let (expected, found) = (self.head.hash.to_string(), hex(&row.entry_hash));
            return Err(self.disagreement("entry_hash", expected, found));
        }
        let computed = columns(&self.head.balances);
        for ((name, expected), found) in BALANCES.into_iter().zip(computed).zip(row.balances) {
            if expected != found {
                return Err(self.disagreement(name, points(expected), points(found)));
            }
        }
        Ok(())
    }

    /// A reservation, held against its entries. `since` is what entries after the walk's last have
    /// done, which the row knows of already.
    pub(super) fn reservation(&mut self, row: &ReservationRow, since: &Effects) -> Checked<()> {
        if row.is_misshapen {
            let expected = format!("what a row in state {} holds", row.state);
            let differing = self.disagreement("shape", expected, "incomplete".to_owned());
            let reservation = Some(ReservationId(row.reservation_id));
            return Err(Box::new(Disagreement { reservation, ..*differing }));
        }
        let later = since.get(&row.reservation_id).copied().unwrap_or_default();
        let found = Effect::told_by(row).less(later);
        self.rows.add(found);
        let Some(effects) = &mut self.effects else { return Ok(()) };
        let expected = effects.remove(&row.reservation_id).unwrap_or_default();
        self.same(Some(row.reservation_id), expected, found)
    }

    /// Whether the reservations that were shown are all, and hold what the account has reserved.
    pub(super) fn reservations_end(&self) -> Checked<()> {
        let missing =
            self.effects.iter().flatten().find(|(_, effect)| **effect != Effect::default());
        if let Some((id, effect)) = missing {
            return self.same(Some(*id), *effect, Effect::default());
        }
        let [_, reserved, spent, _] = columns(&self.head.balances).map(i128::from);
        self.same(None, Effect { reserved, spent }, self.rows)
    }

    /// A line behind the walk, which rows that are read from now on know of.
    pub(super) fn later_line(&mut self, row: &EntryRow) {
        if let Some(lots) = &mut self.lots {
            lots.end_of_walk();
            lots.line(row);
        }
    }

    /// All lots of the account, held against the lines.
    pub(super) fn lots(&self, rows: &[LotRow]) -> Checked<()> {
        let lots = self.lots.as_ref().map_or(Ok(()), |lots| lots.lots(rows));
        lots.map_err(|differing| self.in_a_lot(differing))
    }

    /// A leg of a reservation, held against the lines.
    pub(super) fn leg(&mut self, row: &LegRow) -> Checked<()> {
        let leg = self.lots.as_mut().map_or(Ok(()), |lots| lots.leg(row));
        leg.map_err(|differing| self.in_a_lot(differing))
    }

    /// Whether the legs that were shown are all.
    pub(super) fn legs_end(&self) -> Checked<()> {
        let end = self.lots.as_ref().map_or(Ok(()), LotSums::legs_end);
        end.map_err(|differing| self.in_a_lot(differing))
    }

    fn in_a_lot(&self, differing: Differing) -> Box<Disagreement> {
        let Differing { lot, reservation, field, expected, found } = differing;
        let differing = self.disagreement(field, points(expected), points(found));
        let (lot, reservation) = (Some(lot.to_string()), reservation.map(ReservationId));
        Box::new(Disagreement { lot, reservation, ..*differing })
    }

    fn same(&self, reservation: Option<Uuid>, expected: Effect, found: Effect) -> Checked<()> {
        for (field, expected, found) in [
            ("reserved by reservations", expected.reserved, found.reserved),
            ("spent by reservations", expected.spent, found.spent),
        ] {
            if expected != found {
                let differing = self.disagreement(field, points(expected), points(found));
                let reservation = reservation.map(ReservationId);
                return Err(Box::new(Disagreement { reservation, ..*differing }));
            }
        }
        Ok(())
    }

    pub(super) fn disagreement(
        &self,
        field: &'static str,
        expected: String,
        found: String,
    ) -> Box<Disagreement> {
        let (tenant, account) = (self.tenant, self.account);
        let (seq, reservation, lot) = (None, None, None);
        Box::new(Disagreement { tenant, account, seq, reservation, lot, field, expected, found })
    }
}

/// The line as the journal's hash takes it, or the field that cannot be read and what it should be.
fn parse(row: &EntryRow) -> Result<(Line, Posting, Option<Lot>), (&'static str, &'static str)> {
    let kind = EntryKind::ALL.into_iter().find(|kind| kind.as_str() == row.kind);
    let column = |name: &str| Column::ALL.into_iter().find(|column| column.as_str() == name);
    let amount = u64::try_from(row.amount_micropoints).ok().and_then(Points::from_micropoints);
    let line = Line {
        kind: kind.ok_or(("kind", "a kind of entry"))?,
        reservation: row.reservation_id.map(ReservationId),
        reference: row.reference.clone(),
        incarnation: Incarnation(row.incarnation),
        recorded_at: codec::db_time(row.recorded_at).map_err(|_| ("recorded_at", "a time"))?,
    };
    let posting = Posting {
        from: column(&row.from_column).ok_or(("from_column", "a column of the chart"))?,
        to: column(&row.to_column).ok_or(("to_column", "a column of the chart"))?,
        amount: amount.filter(|amount| !amount.is_zero()).ok_or(("amount", "more than 0"))?,
    };
    let bucket = row.bucket.as_deref();
    let lot = bucket.map(|bucket| crate::book::lot(bucket, row.bucket_expires_at)).transpose();
    let lot = lot.map_err(|_| ("bucket", "the name of a bucket"))?;
    if lot.is_none() && row.bucket_expires_at.is_some() {
        return Err(("bucket", "there, because it has an expiry"));
    }
    Ok((line, posting, lot))
}

fn field_of(row: &EntryRow, field: &str) -> String {
    match field {
        "kind" => row.kind.clone(),
        "from_column" => row.from_column.clone(),
        "to_column" => row.to_column.clone(),
        "bucket" => row.bucket.clone().unwrap_or_default(),
        _ => row.recorded_at.to_string(),
    }
}

fn columns(balances: &Balances) -> [i64; 4] {
    let Balances { available, reserved, spent, debt } = *balances;
    [available, reserved, spent, debt].map(codec::micropoints)
}

fn points(micropoints: impl Into<i128>) -> String {
    format!("{} micropoints", micropoints.into())
}

fn hex(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode_prefixed(bytes)
}
