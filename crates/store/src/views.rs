//! Sponsorships as look-ups show them.

use alloy_primitives::{Address, B256};
use domain::ledger::tcc::DbTime;
use domain::quote::Bps;
use domain::{AccountId, ChainId, Points, Quote, ReservationId, Slot, TenantId, Wei};
use uuid::Uuid;

use crate::sponsorships::{CommittedGrant, load_committed};
use crate::{Store, StoreError, codec};

/// A sponsorship with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SponsorshipView {
    /// Its id: the reservation's.
    pub id: ReservationId,
    /// The account that pays.
    pub account: AccountId,
    /// Where the operation can land.
    pub slot: Slot,
    /// From 1; a released slot may be tried again.
    pub attempt: i32,
    /// The paymaster that pays the chain.
    pub paymaster: Address,
    /// `open`, `settled_provisional`, `settled_final` or `released`.
    pub state: String,
    /// Whether the user asked to cancel it.
    pub closing: bool,
    /// What is, or was, set aside.
    pub reserved: Points,
    /// The price.
    pub quote: Quote,
    /// The last block time at which a grant can land, in seconds.
    pub last_valid_until: u64,
    /// What the chain said, once it did.
    pub settlement: Option<SettlementView>,
    /// When it was opened.
    pub opened_at: DbTime,
    /// When it last changed.
    pub changed_at: DbTime,
}

/// What the chain said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettlementView {
    /// What the operation cost in points.
    pub cost: Points,
    /// What the gas tank paid.
    pub gas_cost: Wei,
    /// Whether the operation's call succeeded.
    pub success: bool,
    /// The operation's hash on chain.
    pub user_op_hash: B256,
    /// The transaction.
    pub transaction_hash: B256,
    /// The block.
    pub block_number: u64,
    /// The block's hash.
    pub block_hash: B256,
}

/// Which sponsorships a list shows; absent fields do not restrict.
#[derive(Clone, Copy, Debug, Default)]
pub struct SponsorshipFilter<'a> {
    /// Of this account.
    pub account: Option<AccountId>,
    /// Of this smart account.
    pub sender: Option<Address>,
    /// In a state whose name starts so: `settled` finds both kinds of it.
    pub state: Option<&'a str>,
    /// Older than this one, for the next page.
    pub before: Option<ReservationId>,
}

/// A line of a sponsorship's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEvent {
    /// What happened: `sponsorship.granted`, `.closing`, `.settled`, `.undone`, `.final`, `.released`.
    pub kind: String,
    /// When it was recorded.
    pub recorded_at: DbTime,
    /// `incarnation.account.seq`: the event's id in every stream.
    pub id: String,
}

/// The most sponsorships one page has.
pub const MAX_PAGE: u16 = 100;

impl Store {
    /// Sponsorships, newest first, at most `limit` and [`MAX_PAGE`]. Ids are made in order of time
    /// (UUID version 7), so that they serve as the page's cursor.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn sponsorships(
        &self,
        tenant: TenantId,
        filter: &SponsorshipFilter<'_>,
        limit: u16,
    ) -> Result<Vec<SponsorshipView>, StoreError> {
        self.select(tenant, None, filter, limit).await
    }

    /// One sponsorship with its grants and timeline.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn sponsorship(
        &self,
        tenant: TenantId,
        id: ReservationId,
    ) -> Result<Option<(SponsorshipView, Vec<CommittedGrant>, Vec<TimelineEvent>)>, StoreError>
    {
        let found = self.select(tenant, Some(id), &SponsorshipFilter::default(), 1).await?;
        let Some(view) = found.into_iter().next() else { return Ok(None) };
        let mut connection = self.pool.acquire().await?;
        let grants = load_committed(&mut connection, tenant, id).await?;
        drop(connection);
        let timeline = self.timeline(tenant, view.account, id).await?;
        Ok(Some((view, grants, timeline)))
    }

    async fn timeline(
        &self,
        tenant: TenantId,
        account: AccountId,
        id: ReservationId,
    ) -> Result<Vec<TimelineEvent>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT kind, recorded_at, incarnation, event_seq FROM outbox
            WHERE tenant_id = $1 AND account_id = $2 AND reservation_id = $3
            ORDER BY incarnation, event_seq LIMIT 200"#,
            tenant.0,
            account.0,
            id.0,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(TimelineEvent {
                    kind: row.kind,
                    recorded_at: codec::db_time(row.recorded_at)?,
                    id: format!("{}.{account}.{}", row.incarnation, row.event_seq),
                })
            })
            .collect()
    }

    async fn select(
        &self,
        tenant: TenantId,
        id: Option<ReservationId>,
        filter: &SponsorshipFilter<'_>,
        limit: u16,
    ) -> Result<Vec<SponsorshipView>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT reservation_id, account_id, state, closing, reserved_micropoints, opened_at,
                changed_at, chain_id AS "chain_id!", entry_point AS "entry_point!",
                sender AS "sender!", nonce AS "nonce!", attempt AS "attempt!",
                paymaster AS "paymaster!", micropoints_per_e18_wei AS "micropoints_per_e18_wei!",
                markup_bps AS "markup_bps!", price_source AS "price_source!",
                price_block AS "price_block!", last_valid_until AS "last_valid_until!",
                from_reserved_micropoints + from_available_micropoints + from_debt_micropoints
                    AS cost_micropoints,
                settled_gas_cost_wei, settled_success, settled_user_op_hash,
                settled_transaction_hash, settled_block_number, settled_block_hash
            FROM reservations
            WHERE tenant_id = $1 AND kind = 'sponsorship'
                AND ($2::uuid IS NULL OR reservation_id = $2)
                AND ($3::uuid IS NULL OR account_id = $3)
                AND ($4::bytea IS NULL OR sender = $4)
                AND ($5::text IS NULL OR starts_with(state, $5))
                AND ($6::uuid IS NULL OR reservation_id < $6)
            ORDER BY reservation_id DESC LIMIT $7"#,
            tenant.0,
            id.map(|id| id.0) as Option<Uuid>,
            filter.account.map(|account| account.0) as Option<Uuid>,
            filter.sender.as_ref().map(|sender| sender.as_slice()) as Option<&[u8]>,
            filter.state as Option<&str>,
            filter.before.map(|id| id.0) as Option<Uuid>,
            i64::from(limit.min(MAX_PAGE)),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let settlement = row
                    .cost_micropoints
                    .map(|cost| {
                        Ok::<_, StoreError>(SettlementView {
                            cost: codec::points(cost)?,
                            gas_cost: codec::wei(&codec::present(row.settled_gas_cost_wei)?)?,
                            success: codec::present(row.settled_success)?,
                            user_op_hash: codec::hash(&codec::present(row.settled_user_op_hash)?)?,
                            transaction_hash: codec::hash(&codec::present(
                                row.settled_transaction_hash,
                            )?)?,
                            block_number: codec::unsigned(codec::present(
                                row.settled_block_number,
                            )?)?,
                            block_hash: codec::hash(&codec::present(row.settled_block_hash)?)?,
                        })
                    })
                    .transpose()?;
                Ok(SponsorshipView {
                    id: ReservationId(row.reservation_id),
                    account: AccountId(row.account_id),
                    slot: Slot {
                        chain_id: ChainId(codec::unsigned(row.chain_id)?),
                        entry_point: codec::address(&row.entry_point)?,
                        sender: codec::address(&row.sender)?,
                        nonce: codec::nonce(&row.nonce)?,
                    },
                    attempt: row.attempt,
                    paymaster: codec::address(&row.paymaster)?,
                    state: row.state,
                    closing: row.closing,
                    reserved: codec::points(row.reserved_micropoints)?,
                    quote: Quote {
                        micropoints_per_e18_wei: codec::unsigned(row.micropoints_per_e18_wei)?,
                        markup: Bps(codec::unsigned(row.markup_bps)?),
                        source: row.price_source,
                        block_number: codec::unsigned(row.price_block)?,
                    },
                    last_valid_until: codec::unsigned(row.last_valid_until)?,
                    settlement,
                    opened_at: codec::db_time(row.opened_at)?,
                    changed_at: codec::db_time(row.changed_at)?,
                })
            })
            .collect()
    }
}
