//! One account, locked for one command: what it loads and the only way to write to its journal.

use alloy_primitives::B256;
use domain::ledger::journal::{self, Entry, EntryKind, Head};
use domain::ledger::tcc::DbTime;
use domain::ledger::{Balances, Posting};
use domain::{AccountId, ReservationId, TenantId};
use sqlx::PgConnection;

use crate::{StoreError, codec};

/// An account whose row this transaction holds, with what the command has decided to append.
pub(crate) struct LockedAccount {
    pub(crate) tenant: TenantId,
    pub(crate) account: AccountId,
    /// Database time, read after the lock and never before the account's last.
    pub(crate) now: DbTime,
    head: Head,
    event_seq: i64,
    entries: Vec<Entry>,
    reference: Option<String>,
    events: Vec<(&'static str, Option<ReservationId>)>,
}

impl LockedAccount {
    /// Locks the row, then loads it: two statements, because one would join the balance of now with
    /// what it saw before it waited. `None` where there is no such account.
    pub(crate) async fn lock(
        connection: &mut PgConnection,
        tenant: TenantId,
        account: AccountId,
    ) -> Result<Option<Self>, StoreError> {
        let locked = sqlx::query_scalar!(
            r#"SELECT 1 AS "locked!" FROM accounts
            WHERE tenant_id = $1 AND account_id = $2 FOR NO KEY UPDATE"#,
            tenant.0,
            account.0,
        )
        .fetch_optional(&mut *connection)
        .await?;
        if locked.is_none() {
            return Ok(None);
        }
        let row = sqlx::query!(
            r#"SELECT available_micropoints, reserved_micropoints, spent_micropoints,
                debt_micropoints, entry_seq, entry_hash, event_seq,
                greatest(recorded_at, clock_timestamp()) AS "now!"
            FROM accounts WHERE tenant_id = $1 AND account_id = $2"#,
            tenant.0,
            account.0,
        )
        .fetch_one(connection)
        .await?;
        let balances = Balances {
            available: codec::points(row.available_micropoints)?,
            reserved: codec::points(row.reserved_micropoints)?,
            spent: codec::points(row.spent_micropoints)?,
            debt: codec::points(row.debt_micropoints)?,
        };
        Ok(Some(Self {
            tenant,
            account,
            now: codec::db_time(row.now)?,
            head: Head { seq: row.entry_seq, hash: codec::hash(&row.entry_hash)?, balances },
            event_seq: row.event_seq,
            entries: Vec::new(),
            reference: None,
            events: Vec::new(),
        }))
    }

    /// The balances, with what the command has recorded so far.
    pub(crate) const fn balances(&self) -> &Balances {
        &self.head.balances
    }

    /// Sequence of the last entry, with what the command has recorded so far.
    pub(crate) const fn entry_seq(&self) -> i64 {
        self.head.seq
    }

    /// Appends postings to the journal and an event to the outbox; both are written by
    /// [`LockedAccount::write`].
    pub(crate) fn record(
        &mut self,
        kind: EntryKind,
        postings: &[Posting],
        reservation: Option<ReservationId>,
        event: &'static str,
    ) -> Result<(), StoreError> {
        let entries = journal::append(&mut self.head, kind, postings, reservation, self.now)?;
        self.entries.extend(entries);
        self.events.push((event, reservation));
        Ok(())
    }

    /// Names the company's reference on the entries of this command.
    pub(crate) fn refer_to(&mut self, reference: &str) {
        self.reference = Some(reference.to_owned());
    }

    /// Writes the balances, the entries and the events. The row's lock makes the sequence gapless;
    /// the condition on it is the last line against a writer that did not take the lock.
    pub(crate) async fn write(self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let balances = self.head.balances;
        let now = codec::timestamp(self.now)?;
        let event_seq = self.event_seq.saturating_add(codec::signed(self.events.len())?);
        let before = self.head.seq.saturating_sub(codec::signed(self.entries.len())?);
        let updated = sqlx::query!(
            r#"UPDATE accounts SET available_micropoints = $3, reserved_micropoints = $4,
                spent_micropoints = $5, debt_micropoints = $6, entry_seq = $7, entry_hash = $8,
                event_seq = $9, recorded_at = $10
            WHERE tenant_id = $1 AND account_id = $2 AND entry_seq = $11"#,
            self.tenant.0,
            self.account.0,
            codec::micropoints(balances.available),
            codec::micropoints(balances.reserved),
            codec::micropoints(balances.spent),
            codec::micropoints(balances.debt),
            self.head.seq,
            self.head.hash.as_slice(),
            event_seq,
            now,
            before,
        )
        .execute(&mut *connection)
        .await?;
        if updated.rows_affected() != 1 {
            return Err(StoreError::Corrupt("an account changed under its lock"));
        }
        self.write_entries(&mut *connection).await?;
        self.write_events(connection).await
    }

    async fn write_entries(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let now = codec::timestamp(self.now)?;
        for entry in &self.entries {
            let hash: B256 = entry.hash;
            sqlx::query!(
                r#"INSERT INTO entries (tenant_id, account_id, seq, kind, from_column, to_column,
                    amount_micropoints, available_after_micropoints, reserved_after_micropoints,
                    spent_after_micropoints, debt_after_micropoints, reservation_id, reference,
                    recorded_at, entry_hash)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"#,
                self.tenant.0,
                self.account.0,
                entry.seq,
                entry.kind.as_str(),
                entry.posting.from.as_str(),
                entry.posting.to.as_str(),
                codec::micropoints(entry.posting.amount),
                codec::micropoints(entry.balances.available),
                codec::micropoints(entry.balances.reserved),
                codec::micropoints(entry.balances.spent),
                codec::micropoints(entry.balances.debt),
                entry.reservation.map(|id| id.0),
                self.reference,
                now,
                hash.as_slice(),
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    async fn write_events(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let now = codec::timestamp(self.now)?;
        for (seq, (kind, reservation)) in (self.event_seq.saturating_add(1)..).zip(&self.events) {
            sqlx::query!(
                r#"INSERT INTO outbox (tenant_id, account_id, event_seq, incarnation, kind,
                    reservation_id, entry_seq, recorded_at)
                SELECT $1, $2, $3, max(incarnation), $4, $5, $6, $7 FROM incarnations"#,
                self.tenant.0,
                self.account.0,
                seq,
                *kind,
                reservation.map(|id| id.0),
                self.head.seq,
                now,
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}
