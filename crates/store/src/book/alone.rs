//! A lone command: decided on rows that were read without a lock, and written by one statement that does nothing where
//! the account has changed since.
//!
//! It saves a transaction's round trips. What makes it right is the account's row: whatever such a decision reads changes
//! only together with the account's sequence of entries or of events, and the account is read first. So if both still
//! stand once the statement has locked the row, all that was read still stands. What changes without them, such as whether
//! a block is on the chain, is read under the lock only: see [`Command::ALONE`](crate::command::Command::ALONE).
//!
//! | changes without a sequence | and is harmless, because |
//! | --- | --- |
//! | the key under which a command was repeated | the statement that uses it for another breaks its primary key |
//! | reservations that move to the archive | they are closed; whoever asks for an old one looks in both, the archive last |
//! | the incarnation | it is raised after a restore, before any process runs |
//!
//! The statement gives up rather than wait for a lock. It gives up too where the decision is no longer fresh, because an
//! entry's time is told as past for ever [soon after](crate::journal::CLOSES_AFTER), and no limit on transactions ends a
//! process that sleeps between two statements.

use core::time::Duration;

use domain::ReservationId;
use domain::ids::BizId;
use domain::ledger::journal::Entry;
use sqlx::PgConnection;
use uuid::Uuid;

use super::pages::PageRow;
use super::rows::ChangedTcc;
use super::{
    Book, Event, Needs, NewGrant, NewKey, NewMovement, NewSponsorship, NewTcc, Owner, Page, Tried,
};
use crate::grants::form_name;
use crate::{StoreError, codec};

/// How old a decision may be when it is written.
const FRESH: Duration = Duration::from_secs(1);

/// What a lone command writes beside its account, its entry and its event.
enum Shape<'a> {
    OpenedTcc(&'a NewTcc),
    ChangedTcc(Uuid, &'a ChangedTcc),
    Moved(&'a NewMovement, &'a NewKey),
    Granted(&'a NewSponsorship, &'a NewGrant, Option<&'a NewKey>),
}

/// The part that all have in common: one page with one entry and one event.
struct Common<'a> {
    owner: Owner,
    page: &'a Page,
    entry: &'a Entry,
    event: &'a Event,
}

/// Runs the statement: its common part, the rows of one shape, which of its tables has a row when all is to be written, and
/// the shape's values from `$22` on. Answers how many accounts were changed: one or none.
macro_rules! write_alone {
    ($connection:expr, $common:expr, $rows:literal, $gate:literal, $($value:expr),* $(,)?) => {{
        let Common { owner, page, entry, event }: &Common<'_> = $common;
        let fresh = i64::try_from(FRESH.as_micros()).unwrap_or_default();
        let deadline = domain::ledger::tcc::DbTime(page.now.0.saturating_add(fresh));
        let balances = page.balances();
        sqlx::query!(
            r#"WITH locked AS (
                SELECT FROM accounts
                WHERE tenant_id = $1 AND account_id = $2 AND entry_seq = $3 AND event_seq = $4
                    AND clock_timestamp() < $6
                FOR NO KEY UPDATE SKIP LOCKED
            ), "# + $rows + r#", account AS (
                UPDATE accounts SET recorded_at = $5, available_micropoints = $7::bigint,
                    reserved_micropoints = $8::bigint, spent_micropoints = $9::bigint,
                    debt_micropoints = $10::bigint,
                    entry_seq = $11, entry_hash = $12, event_seq = $13
                FROM "# + $gate + r#" WHERE tenant_id = $1 AND account_id = $2
            ), journal AS (
                INSERT INTO entries (tenant_id, account_id, seq, kind, from_column, to_column,
                    amount_micropoints, available_after_micropoints, reserved_after_micropoints,
                    spent_after_micropoints, debt_after_micropoints, reservation_id, reference,
                    incarnation, recorded_at, entry_hash)
                SELECT $1, $2, $11, $14::text, $15::text, $16::text, $17, $7, $8, $9, $10, $18, $19,
                    $20, $5, $12
                FROM "# + $gate + r#"
            )
            INSERT INTO outbox (tenant_id, account_id, event_seq, incarnation, kind,
                reservation_id, entry_seq, recorded_at)
            SELECT $1, $2, $13, $20, $21, $18, $11, $5 FROM "# + $gate,
            owner.tenant.0,
            owner.account.0,
            page.loaded.0,
            page.loaded.1,
            codec::timestamp(page.now)?,
            codec::timestamp(deadline)?,
            codec::micropoints(balances.available),
            codec::micropoints(balances.reserved),
            codec::micropoints(balances.spent),
            codec::micropoints(balances.debt),
            page.head.seq,
            page.head.hash.as_slice(),
            page.event_seq,
            entry.line.kind.as_str(),
            entry.posting.from.as_str(),
            entry.posting.to.as_str(),
            codec::micropoints(entry.posting.amount),
            event.reservation.map(|id| id.0),
            entry.line.reference.as_deref(),
            event.incarnation.0,
            event.kind,
            $($value),*
        )
        .execute($connection)
        .await?
        .rows_affected()
    }};
}

impl Book {
    /// Loads what one command may read, without a lock: the account first, or all of it as it was at one moment.
    pub(crate) async fn read(
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<Self, StoreError> {
        if let Some((owner, biz_id)) = needs.only_biz_id() {
            let mut book = Self::read_tried(connection, *owner, biz_id).await?;
            book.load_archived_tried(connection, needs).await?;
            return Ok(book);
        }
        let mut book = Self::read_pages(connection, needs).await?;
        book.load(connection, needs).await?;
        Ok(book)
    }

    /// The account and what was set aside under a biz id, in one round trip.
    async fn read_tried(
        connection: &mut PgConnection,
        owner: Owner,
        biz_id: &BizId,
    ) -> Result<Self, StoreError> {
        let mut book = Self::default();
        let row = sqlx::query!(
            r#"SELECT a.available_micropoints, a.reserved_micropoints, a.spent_micropoints,
                a.debt_micropoints, a.entry_seq, a.entry_hash, a.event_seq, a.lot_seq,
                greatest(a.recorded_at, clock_timestamp()) AS "now!",
                (SELECT max(incarnation) FROM incarnations) AS "incarnation!",
                r.reservation_id AS "reservation_id?", r.state AS "state?",
                r.requested_micropoints, r.expires_at, r.settled_micropoints,
                r.rejected_available_micropoints
            FROM accounts a
            LEFT JOIN reservations r ON r.tenant_id = a.tenant_id AND r.account_id = a.account_id
                AND r.biz_id = $3 AND r.kind = 'tcc'
            WHERE a.tenant_id = $1 AND a.account_id = $2"#,
            owner.tenant.0,
            owner.account.0,
            biz_id.as_str(),
        )
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(book) };
        book.insert_page(&PageRow {
            tenant_id: owner.tenant.0,
            account_id: owner.account.0,
            available_micropoints: row.available_micropoints,
            reserved_micropoints: row.reserved_micropoints,
            spent_micropoints: row.spent_micropoints,
            debt_micropoints: row.debt_micropoints,
            entry_seq: row.entry_seq,
            entry_hash: row.entry_hash,
            event_seq: row.event_seq,
            lot_seq: row.lot_seq,
            now: row.now,
            incarnation: row.incarnation,
        })?;
        if let (Some(id), Some(state)) = (row.reservation_id, row.state) {
            let columns = crate::tcc::Columns {
                state,
                requested: row.requested_micropoints,
                expires_at: row.expires_at,
                settled: row.settled_micropoints,
                rejected_available: row.rejected_available_micropoints,
            };
            let tried = Tried { id: ReservationId(id), reservation: columns.reservation()? };
            book.tried.insert((owner, biz_id.clone()), tried);
        }
        Ok(book)
    }

    /// Writes what one command decided on rows that were [read](Book::read) without a lock. Answers `false`, with nothing
    /// written, where the account has changed since or is locked, and where there is no statement for what was decided:
    /// then the command must be decided again under the lock.
    pub(crate) async fn save_alone(
        &self,
        connection: &mut PgConnection,
    ) -> Result<bool, StoreError> {
        let (Some(common), Some(shape)) = (self.common(), self.shape()) else { return Ok(false) };
        let written = match shape {
            Shape::OpenedTcc(row) => self.open_tcc(connection, &common, row).await?,
            Shape::ChangedTcc(id, row) => self.change_tcc(connection, &common, id, row).await?,
            Shape::Moved(row, key) => self.move_alone(connection, &common, row, key).await?,
            Shape::Granted(row, grant, key) => {
                self.grant_alone(connection, &common, row, grant, key).await?
            }
        };
        Ok(written == 1)
    }

    fn common(&self) -> Option<Common<'_>> {
        let mut pages = self.pages.iter();
        match (pages.next(), pages.next(), self.entries.as_slice(), self.events.as_slice()) {
            (Some((owner, page)), None, [(_, entry)], [event])
                if page.lot_seq == 0 && self.purses.is_empty() =>
            {
                Some(Common { owner: *owner, page, entry, event })
            }
            _ => None,
        }
    }

    fn shape(&self) -> Option<Shape<'_>> {
        let rows = &self.rows;
        if !rows.marks.is_empty() || !rows.changed_sponsorships.is_empty() {
            return None;
        }
        let mut changed = rows.changed_tccs.iter();
        let changed = (changed.next(), changed.next());
        match (
            rows.tccs.as_slice(),
            changed,
            rows.sponsorships.as_slice(),
            rows.grants.as_slice(),
            rows.movements.as_slice(),
            rows.keys.as_slice(),
        ) {
            ([row], (None, _), [], [], [], []) => Some(Shape::OpenedTcc(row)),
            ([], (Some((id, row)), None), [], [], [], []) => Some(Shape::ChangedTcc(id.0, row)),
            ([], (None, _), [], [], [row], [key]) => Some(Shape::Moved(row, key)),
            ([], (None, _), [row], [grant], [], keys @ ([] | [_])) => {
                Some(Shape::Granted(row, grant, keys.first()))
            }
            _ => None,
        }
    }

    async fn open_tcc(
        &self,
        connection: &mut PgConnection,
        common: &Common<'_>,
        row: &NewTcc,
    ) -> Result<u64, StoreError> {
        let stored = crate::tcc::Columns::of(&row.reservation)?;
        Ok(write_alone!(
            connection,
            common,
            r#"opened AS (
                INSERT INTO reservations (tenant_id, account_id, reservation_id, kind, state,
                    reserved_micropoints, opened_at, changed_at, biz_id, requested_micropoints,
                    expires_at, settled_micropoints, rejected_available_micropoints)
                SELECT $1, $2, $18, 'tcc', $22::text, $23::bigint, $5, $5, $24, $25, $26, $27, $28 FROM locked
            )"#,
            "locked",
            stored.state,
            stored.reserved(),
            row.biz_id.as_str(),
            stored.requested,
            stored.expires_at,
            stored.settled,
            stored.rejected_available,
        ))
    }

    async fn change_tcc(
        &self,
        connection: &mut PgConnection,
        common: &Common<'_>,
        id: Uuid,
        row: &ChangedTcc,
    ) -> Result<u64, StoreError> {
        let stored = crate::tcc::Columns::of(&row.reservation)?;
        Ok(write_alone!(
            connection,
            common,
            r#"changed AS (
                UPDATE reservations SET state = $24::text, settled_micropoints = $25, changed_at = $5
                FROM locked
                WHERE tenant_id = $1 AND account_id = $2 AND reservation_id = $22 AND state = $23
                RETURNING true
            )"#,
            "changed",
            id,
            row.from,
            stored.state,
            stored.settled,
        ))
    }

    async fn move_alone(
        &self,
        connection: &mut PgConnection,
        common: &Common<'_>,
        row: &NewMovement,
        key: &NewKey,
    ) -> Result<u64, StoreError> {
        let target = key.target.columns();
        Ok(write_alone!(
            connection,
            common,
            r#"movement AS (
                INSERT INTO movements (tenant_id, account_id, reference, kind, amount_micropoints,
                    reason, entry_seq, available_after_micropoints, debt_after_micropoints,
                    recorded_at)
                SELECT $1, $2, $19, $22, $23, $24, $25, $26, $27, $5 FROM locked
            ), key AS (
                INSERT INTO command_keys (tenant_id, account_id, command_key, command,
                    request_hash, reference, recorded_at)
                SELECT $1, $2, $28, $29, $30, $31, $5 FROM locked
            )"#,
            "locked",
            row.kind,
            codec::micropoints(row.amount),
            row.reason,
            row.entry_seq,
            codec::micropoints(row.available_after),
            codec::micropoints(row.debt_after),
            key.key.as_str(),
            target.command,
            key.request_hash.as_slice(),
            target.reference,
        ))
    }

    async fn grant_alone(
        &self,
        connection: &mut PgConnection,
        common: &Common<'_>,
        row: &NewSponsorship,
        NewGrant { request_hash, grant, .. }: &NewGrant,
        key: Option<&NewKey>,
    ) -> Result<u64, StoreError> {
        let quote = &row.reservation.quote;
        Ok(write_alone!(
            connection,
            common,
            r#"reservation AS (
                INSERT INTO reservations (tenant_id, account_id, reservation_id, kind, state,
                    reserved_micropoints, opened_at, changed_at, app_id, chain_id, entry_point,
                    sender, nonce, attempt, paymaster, micropoints_per_e18_wei, markup_bps,
                    price_source, price_block, last_valid_until)
                SELECT $1, $2, $18, 'sponsorship', 'open', $22::bigint, $5, $5, $23, $24, $25, $26, $27,
                    $28, $29, $30, $31, $32, $33, $34 FROM locked
            ), signed AS (
                INSERT INTO grants (tenant_id, account_id, reservation_id, grant_no, request_hash,
                    max_cost_wei, max_cost_micropoints, valid_until, digest, signature,
                    paymaster_verification_gas_limit, paymaster_post_op_gas_limit, user_op_hash,
                    delegate, recorded_at, app_id, form)
                SELECT $1, $2, $18, $35, $36, $37, $38, $34, $39, $40, $41, $42, $43, $44, $5, $23,
                    $45 FROM locked
            ), key AS (
                INSERT INTO command_keys (tenant_id, account_id, command_key, command,
                    request_hash, reservation_id, grant_no, recorded_at)
                SELECT $1, $2, $46, $47, $48, $18, $35, $5 FROM locked WHERE $46::text IS NOT NULL
            )"#,
            "locked",
            codec::micropoints(row.reservation.reserved),
            row.app.0,
            codec::chain_id(row.slot.chain_id)?,
            row.slot.entry_point.as_slice(),
            row.slot.sender.as_slice(),
            codec::nonce_bytes(row.slot.nonce).to_vec(),
            codec::signed32(row.reservation.attempt)?,
            row.paymaster.as_slice(),
            codec::signed(quote.micropoints_per_e18_wei)?,
            codec::signed32(quote.markup.0)?,
            quote.source,
            codec::signed(quote.block_number)?,
            codec::signed(grant.valid_until.0)?,
            grant.grant_no,
            request_hash.as_slice(),
            codec::numeric(grant.max_cost.0)?,
            codec::micropoints(grant.points),
            grant.digest.as_slice(),
            grant.signature.as_slice(),
            codec::signed(grant.paymaster_gas.verification.0)?,
            codec::signed(grant.paymaster_gas.post_op.0)?,
            grant.user_op_hash.as_slice(),
            grant.delegate.as_ref().map(|delegate| delegate.as_slice()),
            form_name(grant.form),
            key.map(|key| key.key.as_str()),
            key.map(|key| key.target.columns().command),
            key.map(|key| key.request_hash.to_vec()),
        ))
    }
}
