//! Writing a batch: one statement for each kind of row.

use sqlx::PgConnection;
use uuid::Uuid;

use super::load::columns;
use super::{Book, Page};
use crate::codec::{checked, column};
use crate::{StoreError, codec};

/// Every row was locked, so that one that is missed is a defect.
pub(super) fn all_rows(affected: u64, rows: usize) -> Result<(), StoreError> {
    if usize::try_from(affected) == Ok(rows) {
        Ok(())
    } else {
        Err(StoreError::Corrupt("a row changed under its account's lock"))
    }
}

impl Book {
    /// Writes everything that the batch decided. The caller commits.
    pub(crate) async fn save(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if !self.is_changed() {
            return Ok(());
        }
        self.save_pages(connection).await?;
        self.save_entries(connection).await?;
        self.save_lot_entries(connection).await?;
        self.rows.save(connection).await?;
        self.save_purses(connection).await?;
        self.save_events(connection).await
    }

    /// The condition on the sequence is the last line against a writer that did not take the lock.
    async fn save_pages(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let changed: Vec<_> = self.pages.iter().filter(|(_, page)| page.is_changed()).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let (tenants, accounts) = columns(changed.iter().map(|(owner, _)| *owner));
        let points = |pick: fn(&Page) -> domain::Points| {
            column(&changed, |(_, page)| codec::micropoints(pick(page)))
        };
        let updated = sqlx::query!(
            r#"UPDATE accounts a SET available_micropoints = n.available,
                reserved_micropoints = n.reserved, spent_micropoints = n.spent,
                debt_micropoints = n.debt, entry_seq = n.entry_seq, entry_hash = n.entry_hash,
                event_seq = n.event_seq, recorded_at = n.recorded_at
            FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[],
                    $6::bigint[], $7::bigint[], $8::bytea[], $9::bigint[], $10::timestamptz[],
                    $11::bigint[], $12::bigint[])
                AS n (tenant_id, account_id, available, reserved, spent, debt, entry_seq,
                    entry_hash, event_seq, recorded_at, loaded_entry_seq, loaded_event_seq)
            WHERE a.tenant_id = n.tenant_id AND a.account_id = n.account_id
                AND a.entry_seq = n.loaded_entry_seq AND a.event_seq = n.loaded_event_seq"#,
            &tenants,
            &accounts,
            &points(|page| page.head.balances.available),
            &points(|page| page.head.balances.reserved),
            &points(|page| page.head.balances.spent),
            &points(|page| page.head.balances.debt),
            &column(&changed, |(_, page)| page.head.seq),
            &column(&changed, |(_, page)| page.head.hash.to_vec()),
            &column(&changed, |(_, page)| page.event_seq),
            &checked(&changed, |(_, page)| codec::timestamp(page.now))?,
            &column(&changed, |(_, page)| page.loaded.0),
            &column(&changed, |(_, page)| page.loaded.1),
        )
        .execute(connection)
        .await?;
        all_rows(updated.rows_affected(), changed.len())
    }

    async fn save_entries(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let rows = &self.entries;
        if rows.is_empty() {
            return Ok(());
        }
        let (tenants, accounts) = columns(rows.iter().map(|(owner, _)| owner));
        let reservations: Vec<Option<Uuid>> =
            column(rows, |(_, entry)| entry.line.reservation.map(|id| id.0));
        let references: Vec<Option<String>> =
            column(rows, |(_, entry)| entry.line.reference.clone());
        sqlx::query!(
            r#"INSERT INTO entries (tenant_id, account_id, seq, kind, from_column, to_column,
                amount_micropoints, available_after_micropoints, reserved_after_micropoints,
                spent_after_micropoints, debt_after_micropoints, reservation_id, reference,
                incarnation, recorded_at, entry_hash)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[],
                $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
                $12::uuid[], $13::text[], $14::int[], $15::timestamptz[], $16::bytea[])"#,
            &tenants,
            &accounts,
            &column(rows, |(_, entry)| entry.seq),
            &column(rows, |(_, entry)| entry.line.kind.as_str().to_owned()),
            &column(rows, |(_, entry)| entry.posting.from.as_str().to_owned()),
            &column(rows, |(_, entry)| entry.posting.to.as_str().to_owned()),
            &column(rows, |(_, entry)| codec::micropoints(entry.posting.amount)),
            &column(rows, |(_, entry)| codec::micropoints(entry.balances.available)),
            &column(rows, |(_, entry)| codec::micropoints(entry.balances.reserved)),
            &column(rows, |(_, entry)| codec::micropoints(entry.balances.spent)),
            &column(rows, |(_, entry)| codec::micropoints(entry.balances.debt)),
            &reservations as &[Option<Uuid>],
            &references as &[Option<String>],
            &column(rows, |(_, entry)| entry.line.incarnation.0),
            &checked(rows, |(_, entry)| codec::timestamp(entry.line.recorded_at))?,
            &column(rows, |(_, entry)| entry.hash.to_vec()),
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn save_events(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let rows = &self.events;
        if rows.is_empty() {
            return Ok(());
        }
        let (tenants, accounts) = columns(rows.iter().map(|event| &event.owner));
        let reservations: Vec<Option<Uuid>> =
            column(rows, |event| event.reservation.map(|id| id.0));
        sqlx::query!(
            r#"INSERT INTO outbox (tenant_id, account_id, event_seq, incarnation, kind,
                reservation_id, entry_seq, recorded_at)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::int[], $5::text[],
                $6::uuid[], $7::bigint[], $8::timestamptz[])"#,
            &tenants,
            &accounts,
            &column(rows, |event| event.seq),
            &column(rows, |event| event.incarnation.0),
            &column(rows, |event| event.kind.to_owned()),
            &reservations as &[Option<Uuid>],
            &column(rows, |event| event.entry_seq),
            &checked(rows, |event| codec::timestamp(event.recorded_at))?,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
