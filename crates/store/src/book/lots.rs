//! The lots of a batch's accounts, and the legs of their reservations. An account without lots has no
//! purse, and costs no statement here.

use std::collections::{BTreeSet, HashMap};

use domain::ReservationId;
use domain::ids::BucketName;
use domain::ledger::buckets::{
    self, BucketRefusal, ExpiredRefund, Leg, Legs, Lot, LotNo, LotState, Lots, Part, Terms,
};
use domain::ledger::journal::{self, Entry, EntryKind};
use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

use super::load::{columns, owner};
use super::save::all_rows;
use super::{Book, Owner, Record};
use crate::codec::{checked, column};
use crate::{StoreError, codec};

/// What is written of points that expire, or were to come back and had expired.
const EXPIRED_EVENT: &str = "points.expired";

/// The lots of one account, and the legs of those of its reservations that the batch looks at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Purse {
    lots: Lots,
    expired_refund: ExpiredRefund,
    legs: HashMap<ReservationId, Legs>,
    /// What is to be written.
    changed_lots: BTreeSet<LotNo>,
    changed_legs: BTreeSet<(ReservationId, LotNo)>,
    /// Whether the account's own row is to say so: a lot was opened or swept.
    is_new: bool,
    entries: Vec<Entry>,
}

impl Purse {
    /// Whether there is something to write that the account's page does not know of.
    pub(super) const fn is_changed(&self) -> bool {
        self.is_new
    }
}

impl Book {
    /// Opens the lot that a credit names, if it can take points.
    pub(crate) fn open_lot(
        &mut self,
        owner: Owner,
        lot: &Lot,
    ) -> Result<Result<LotNo, BucketRefusal>, StoreError> {
        let now = self.page(owner).ok_or(StoreError::Corrupt("no such account"))?.now;
        // Under a rule that matters only once one of its lots has expired, which a new one has not.
        let known = self.purses.get(&owner).map(|purse| purse.lots.last());
        let mut lots = self.purses.get(&owner).map(|purse| purse.lots.clone()).unwrap_or_default();
        let opened = lots.open(lot, now);
        if let Ok(no) = opened {
            let purse = self.purses.entry(owner).or_default();
            if known != Some(lots.last()) {
                purse.is_new = true;
                purse.changed_lots.insert(no);
            }
            purse.lots = lots;
        }
        Ok(opened)
    }

    /// Takes the points of all lots that are past their time; how many lots there were.
    pub(crate) fn expire_lots(&mut self, owner: Owner) -> Result<usize, StoreError> {
        let (Some(page), Some(purse)) = (self.pages.get(&owner), self.purses.get(&owner)) else {
            return Ok(0);
        };
        let due = purse.lots.due(page.now);
        for lot in &due {
            if let Some(posting) = lot.posting {
                let record = Record {
                    kind: EntryKind::Expire,
                    postings: &[posting],
                    reservation: None,
                    reference: None,
                    event: EXPIRED_EVENT,
                };
                self.record_in_lots(owner, &record, Some(lot.no))?;
            }
            let purse = self.purses.entry(owner).or_default();
            purse.lots.sweep(lot.no)?;
            purse.changed_lots.insert(lot.no);
            purse.is_new = true;
        }
        Ok(due.len())
    }

    /// The same as [`Book::record`] for an account with lots. `named` is the lot of a credit or an
    /// expiry.
    pub(crate) fn record_in_lots(
        &mut self,
        owner: Owner,
        record: &Record<'_>,
        named: Option<LotNo>,
    ) -> Result<(), StoreError> {
        let page = self.pages.get_mut(&owner).ok_or(StoreError::Corrupt("no such account"))?;
        let purse = self.purses.get_mut(&owner).ok_or(StoreError::Corrupt("no lots"))?;
        let mut legs = record.reservation.and_then(|id| purse.legs.remove(&id)).unwrap_or_default();
        let (lots_before, legs_before) = (purse.lots.clone(), legs.clone());
        let terms = Terms { named, now: page.now, expired_refund: purse.expired_refund };
        let spread = buckets::spread(&mut purse.lots, &mut legs, &terms, record.postings)?;
        let is_other = |(no, state): &(LotNo, &LotState)| lots_before.get(*no) != Some(*state);
        purse.changed_lots.extend(purse.lots.iter().filter(is_other).map(|(no, _)| no));
        if let Some(id) = record.reservation {
            let others = legs.iter().filter(|(no, leg)| legs_before.get(*no) != Some(*leg));
            purse.changed_legs.extend(others.map(|(no, _)| (id, *no)));
            purse.legs.insert(id, legs);
        }
        let expiry = Record { kind: EntryKind::Expire, event: EXPIRED_EVENT, ..*record };
        let mut write = |record: &Record<'_>, parts: &[Part]| -> Result<(), StoreError> {
            let line = page.line(record);
            let entries = journal::append_parts(&mut page.head, &line, parts)?;
            purse.entries.extend(entries);
            self.events.push(page.event(owner, record));
            Ok(())
        };
        write(record, &spread.parts)?;
        if !spread.forfeited.is_empty() {
            write(&expiry, &spread.forfeited)?;
        }
        Ok(())
    }

    /// Loads the lots of the accounts that have some, and the legs of the reservations that were loaded.
    pub(super) async fn load_purses(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<(), StoreError> {
        let with_lots: Vec<Owner> = self
            .pages
            .iter()
            .filter(|(_, page)| page.lot_seq > 0)
            .map(|(owner, _)| *owner)
            .collect();
        if with_lots.is_empty() {
            return Ok(());
        }
        let mut lots = self.load_legs(connection).await?;
        let (tenants, accounts) = columns(with_lots.iter());
        let rows = sqlx::query!(
            r#"SELECT n.tenant_id AS "tenant_id!", n.account_id AS "account_id!", t.expired_refund,
                b.lot AS "lot?", b.bucket AS "bucket?", b.expires_at AS "expires_at?",
                b.available_micropoints AS "available?"
            FROM unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, account_id)
            JOIN tenants t ON t.tenant_id = n.tenant_id
            LEFT JOIN buckets b ON b.tenant_id = n.tenant_id AND b.account_id = n.account_id
                AND NOT b.expiry_swept"#,
            &tenants,
            &accounts,
        )
        .fetch_all(connection)
        .await?;
        let mut rules = HashMap::new();
        for row in rows {
            let owner = owner(row.tenant_id, row.account_id);
            rules.insert(owner, refund_rule(&row.expired_refund)?);
            if let Some(no) = row.lot {
                let lot = lot(&codec::present(row.bucket)?, row.expires_at)?;
                let available = codec::points(codec::present(row.available)?)?;
                let state = LotState { lot, available, is_swept: false };
                lots.push((owner, LotNo(no), state));
            }
        }
        let mut by_owner: HashMap<Owner, Vec<(LotNo, LotState)>> = HashMap::new();
        for (owner, no, state) in lots {
            by_owner.entry(owner).or_default().push((no, state));
        }
        for owner in with_lots {
            let last = self.pages.get(&owner).map(|page| LotNo(page.lot_seq)).unwrap_or_default();
            let purse = self.purses.entry(owner).or_default();
            purse.lots = Lots::new(last, by_owner.remove(&owner).unwrap_or_default());
            purse.expired_refund = rules.remove(&owner).unwrap_or_default();
        }
        Ok(())
    }

    /// The legs of the loaded reservations of accounts with lots; answers the swept lots that they name.
    async fn load_legs(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<Vec<(Owner, LotNo, LotState)>, StoreError> {
        let tried = self.tried.iter().map(|((owner, _), tried)| (*owner, tried.id));
        let attempts = self.attempts.iter().map(|((owner, _), attempt)| (*owner, attempt.id));
        let has_lots = |owner: &Owner| self.pages.get(owner).is_some_and(|page| page.lot_seq > 0);
        let named: Vec<_> = tried.chain(attempts).filter(|(owner, _)| has_lots(owner)).collect();
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let (tenants, accounts) = columns(named.iter().map(|(owner, _)| owner));
        let rows = sqlx::query!(
            r#"SELECT l.tenant_id, l.account_id, l.reservation_id, l.lot, l.reserved_micropoints,
                l.settled_micropoints, l.returned_micropoints, l.taken_micropoints, b.bucket,
                b.expires_at, b.expiry_swept
            FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS n (tenant_id, account_id, reservation_id)
            JOIN reservation_legs l ON l.tenant_id = n.tenant_id AND l.account_id = n.account_id
                AND l.reservation_id = n.reservation_id
            JOIN buckets b ON b.tenant_id = l.tenant_id AND b.account_id = l.account_id
                AND b.lot = l.lot"#,
            &tenants,
            &accounts,
            &column(&named, |(_, id)| id.0),
        )
        .fetch_all(connection)
        .await?;
        let mut swept = Vec::new();
        for row in rows {
            let (owner, no) = (owner(row.tenant_id, row.account_id), LotNo(row.lot));
            let leg = Leg {
                reserved: codec::points(row.reserved_micropoints)?,
                settled: codec::points(row.settled_micropoints)?,
                returned: codec::points(row.returned_micropoints)?,
                taken: codec::points(row.taken_micropoints)?,
            };
            let legs = &mut self.purses.entry(owner).or_default().legs;
            legs.entry(ReservationId(row.reservation_id)).or_default().insert(no, leg);
            if row.expiry_swept {
                let lot = lot(&row.bucket, row.expires_at)?;
                let available = domain::Points::ZERO;
                swept.push((owner, no, LotState { lot, available, is_swept: true }));
            }
        }
        Ok(swept)
    }

    /// Entries of accounts with lots: the same rows as the others, with their bucket.
    pub(super) async fn save_lot_entries(
        &self,
        connection: &mut PgConnection,
    ) -> Result<(), StoreError> {
        let rows: Vec<(Owner, &Entry)> = self
            .purses
            .iter()
            .flat_map(|(owner, purse)| purse.entries.iter().map(|entry| (*owner, entry)))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let (tenants, accounts) = columns(rows.iter().map(|(owner, _)| owner));
        let lots = column(&rows, |(_, entry)| entry.lot.as_ref());
        sqlx::query!(
            r#"INSERT INTO entries (tenant_id, account_id, seq, kind, from_column, to_column,
                amount_micropoints, available_after_micropoints, reserved_after_micropoints,
                spent_after_micropoints, debt_after_micropoints, reservation_id, reference,
                incarnation, recorded_at, entry_hash, bucket, bucket_expires_at)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[],
                $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
                $12::uuid[], $13::text[], $14::int[], $15::timestamptz[], $16::bytea[], $17::text[],
                $18::timestamptz[])"#,
            &tenants,
            &accounts,
            &column(&rows, |(_, entry)| entry.seq),
            &column(&rows, |(_, entry)| entry.line.kind.as_str().to_owned()),
            &column(&rows, |(_, entry)| entry.posting.from.as_str().to_owned()),
            &column(&rows, |(_, entry)| entry.posting.to.as_str().to_owned()),
            &column(&rows, |(_, entry)| codec::micropoints(entry.posting.amount)),
            &column(&rows, |(_, entry)| codec::micropoints(entry.balances.available)),
            &column(&rows, |(_, entry)| codec::micropoints(entry.balances.reserved)),
            &column(&rows, |(_, entry)| codec::micropoints(entry.balances.spent)),
            &column(&rows, |(_, entry)| codec::micropoints(entry.balances.debt)),
            &column(&rows, |(_, entry)| entry.line.reservation.map(|id| id.0)) as &[Option<Uuid>],
            &column(&rows, |(_, entry)| entry.line.reference.clone()) as &[Option<String>],
            &column(&rows, |(_, entry)| entry.line.incarnation.0),
            &checked(&rows, |(_, entry)| codec::timestamp(entry.line.recorded_at))?,
            &column(&rows, |(_, entry)| entry.hash.to_vec()),
            &column(&lots, |lot| lot.map(|lot| lot.bucket.as_str().to_owned()))
                as &[Option<String>],
            &checked(&lots, |lot| expiry(*lot))? as &[Option<OffsetDateTime>],
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Lots, then legs, which name them; both behind the reservations.
    pub(super) async fn save_purses(
        &self,
        connection: &mut PgConnection,
    ) -> Result<(), StoreError> {
        if self.purses.is_empty() {
            return Ok(());
        }
        self.save_lot_seqs(connection).await?;
        self.save_lots(connection).await?;
        self.save_legs(connection).await
    }

    /// Says in the account's row that it has lots. A sweep only moves its time, behind which nothing can
    /// enter a lot that was swept by then.
    async fn save_lot_seqs(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for (owner, purse) in self.purses.iter().filter(|(_, purse)| purse.is_new) {
            let page = self.pages.get(owner).ok_or(StoreError::Corrupt("no such account"))?;
            rows.push((*owner, page.lot_seq, purse.lots.last().0, page.now));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let (tenants, accounts) = columns(rows.iter().map(|(owner, ..)| owner));
        let updated = sqlx::query!(
            r#"UPDATE accounts a SET lot_seq = n.lot_seq, recorded_at = n.now
            FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::timestamptz[])
                AS n (tenant_id, account_id, loaded, lot_seq, now)
            WHERE a.tenant_id = n.tenant_id AND a.account_id = n.account_id
                AND a.lot_seq = n.loaded"#,
            &tenants,
            &accounts,
            &column(&rows, |(_, loaded, ..)| *loaded),
            &column(&rows, |(_, _, last, _)| *last),
            &checked(&rows, |(.., now)| codec::timestamp(*now))?,
        )
        .execute(connection)
        .await?;
        all_rows(updated.rows_affected(), rows.len())
    }

    async fn save_lots(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for (owner, purse) in &self.purses {
            for no in &purse.changed_lots {
                rows.push((*owner, *no, codec::present(purse.lots.get(*no))?));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let (tenants, accounts) = columns(rows.iter().map(|(owner, ..)| owner));
        sqlx::query!(
            r#"INSERT INTO buckets (tenant_id, account_id, lot, bucket, expires_at,
                available_micropoints, expiry_swept)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::timestamptz[],
                $6::bigint[], $7::bool[])
            ON CONFLICT (tenant_id, account_id, lot) DO UPDATE SET
                available_micropoints = excluded.available_micropoints,
                expiry_swept = excluded.expiry_swept"#,
            &tenants,
            &accounts,
            &column(&rows, |(_, no, _)| no.0),
            &column(&rows, |(.., state)| state.lot.bucket.as_str().to_owned()),
            &checked(&rows, |(.., state)| expiry(Some(&state.lot)))? as &[Option<OffsetDateTime>],
            &column(&rows, |(.., state)| codec::micropoints(state.available)),
            &column(&rows, |(.., state)| state.is_swept),
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn save_legs(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for (owner, purse) in &self.purses {
            for (id, no) in &purse.changed_legs {
                let leg = purse.legs.get(id).and_then(|legs| legs.get(no)).copied();
                rows.push((*owner, *id, *no, codec::present(leg)?));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let (tenants, accounts) = columns(rows.iter().map(|(owner, ..)| owner));
        sqlx::query!(
            r#"INSERT INTO reservation_legs (tenant_id, account_id, reservation_id, lot,
                reserved_micropoints, settled_micropoints, returned_micropoints, taken_micropoints)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::bigint[],
                $6::bigint[], $7::bigint[], $8::bigint[])
            ON CONFLICT (tenant_id, account_id, reservation_id, lot) DO UPDATE SET
                reserved_micropoints = excluded.reserved_micropoints,
                settled_micropoints = excluded.settled_micropoints,
                returned_micropoints = excluded.returned_micropoints,
                taken_micropoints = excluded.taken_micropoints"#,
            &tenants,
            &accounts,
            &column(&rows, |(_, id, ..)| id.0),
            &column(&rows, |(_, _, no, _)| no.0),
            &column(&rows, |(.., leg)| codec::micropoints(leg.reserved)),
            &column(&rows, |(.., leg)| codec::micropoints(leg.settled)),
            &column(&rows, |(.., leg)| codec::micropoints(leg.returned)),
            &column(&rows, |(.., leg)| codec::micropoints(leg.taken)),
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Which points a row's two columns name.
pub(crate) fn lot(bucket: &str, expires_at: Option<OffsetDateTime>) -> Result<Lot, StoreError> {
    let bucket: BucketName = bucket.parse().map_err(|_| StoreError::Corrupt("bucket"))?;
    Ok(Lot { bucket, expires_at: expires_at.map(codec::db_time).transpose()? })
}

/// When a lot expires, as its column has it.
pub(super) fn expiry(lot: Option<&Lot>) -> Result<Option<OffsetDateTime>, StoreError> {
    lot.and_then(|lot| lot.expires_at).map(codec::timestamp).transpose()
}

/// The rule that SQL calls so.
pub(crate) fn refund_rule(name: &str) -> Result<ExpiredRefund, StoreError> {
    let found = ExpiredRefund::ALL.into_iter().find(|rule| rule.as_str() == name);
    found.ok_or(StoreError::Corrupt("rule for expired refunds"))
}
