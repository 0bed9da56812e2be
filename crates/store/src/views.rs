//! Sponsorships as look-ups show them.

use alloy_primitives::{Address, B256};
use domain::chain_fact::ChainTime;
use domain::ledger::tcc::DbTime;
use domain::{AccountId, ChainId, Points, Quote, ReservationId, Slot, TenantId, Wei};
use sqlx::types::{BigDecimal, Uuid};
use time::OffsetDateTime;

use crate::book::Owner;
use crate::grants::{CommittedGrant, load_grants};
use crate::reservations::{FINAL, OPEN, PROVISIONAL, RELEASED};
use crate::{Store, StoreError, codec};

/// Where a sponsorship stands, without what settled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewState {
    /// The points are set aside.
    Open,
    /// Settled in a block that may still go away.
    SettledProvisional,
    /// Settled in a final block.
    SettledFinal,
    /// All points are returned.
    Released,
}

impl ViewState {
    /// The state's name in SQL.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => OPEN,
            Self::SettledProvisional => PROVISIONAL,
            Self::SettledFinal => FINAL,
            Self::Released => RELEASED,
        }
    }

    fn parse(name: &str) -> Result<Self, StoreError> {
        match name {
            OPEN => Ok(Self::Open),
            PROVISIONAL => Ok(Self::SettledProvisional),
            FINAL => Ok(Self::SettledFinal),
            RELEASED => Ok(Self::Released),
            _ => Err(StoreError::Corrupt("sponsorship state")),
        }
    }
}

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
    pub attempt: u32,
    /// The paymaster that pays the chain.
    pub paymaster: Address,
    /// Where it stands.
    pub state: ViewState,
    /// Whether the user asked to cancel it.
    pub closing: bool,
    /// What is, or was, set aside.
    pub reserved: Points,
    /// The price.
    pub quote: Quote,
    /// The last block time at which a grant can land.
    pub last_valid_until: ChainTime,
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
    /// In one of these states.
    pub states: Option<&'a [ViewState]>,
    /// Opened at this time or later.
    pub opened_from: Option<DbTime>,
    /// Opened earlier than this time.
    pub opened_until: Option<DbTime>,
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
        let owner = Owner { tenant, account: view.account };
        let mut grants = load_grants(&mut connection, &[(owner, id)]).await?;
        let grants = grants.remove(&id).unwrap_or_default();
        let grants = grants.into_iter().map(|(_, grant)| grant).collect();
        drop(connection);
        let timeline = self.timeline(tenant, &view).await?;
        Ok(Some((view, grants, timeline)))
    }

    /// Every event of a reservation is recorded between its opening and its last change, so that other
    /// months are not looked into.
    async fn timeline(
        &self,
        tenant: TenantId,
        view: &SponsorshipView,
    ) -> Result<Vec<TimelineEvent>, StoreError> {
        let account = view.account;
        let rows = sqlx::query!(
            r#"SELECT kind, recorded_at, incarnation, event_seq FROM outbox
            WHERE tenant_id = $1 AND account_id = $2 AND reservation_id = $3
                AND recorded_at >= $4 AND recorded_at <= $5
            ORDER BY incarnation, event_seq LIMIT 200"#,
            tenant.0,
            account.0,
            view.id.0,
            codec::timestamp(view.opened_at)?,
            codec::timestamp(view.changed_at)?,
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
        let states = filter.states.map(|states| -> Vec<String> {
            states.iter().map(|state| state.as_str().to_owned()).collect()
        });
        let rows = sqlx::query_as!(
            SponsorshipRow,
            r#"SELECT reservation_id AS "reservation_id!", account_id AS "account_id!",
                state AS "state!", closing AS "closing!",
                reserved_micropoints AS "reserved_micropoints!", opened_at AS "opened_at!",
                changed_at AS "changed_at!", chain_id AS "chain_id!", entry_point AS "entry_point!",
                sender AS "sender!", nonce AS "nonce!", attempt AS "attempt!",
                paymaster AS "paymaster!", micropoints_per_e18_wei AS "micropoints_per_e18_wei!",
                markup_bps AS "markup_bps!", price_source AS "price_source!",
                price_block AS "price_block!", last_valid_until AS "last_valid_until!",
                from_reserved_micropoints + from_available_micropoints + from_debt_micropoints
                    AS cost_micropoints,
                settled_gas_cost_wei, settled_success, settled_user_op_hash,
                settled_transaction_hash, settled_block_number, settled_block_hash
            FROM every_reservation
            WHERE tenant_id = $1 AND kind = 'sponsorship'
                AND ($2::uuid IS NULL OR reservation_id = $2)
                AND ($3::uuid IS NULL OR account_id = $3)
                AND ($4::bytea IS NULL OR sender = $4)
                AND ($5::text[] IS NULL OR state = ANY($5))
                AND ($6::timestamptz IS NULL OR opened_at >= $6)
                AND ($7::timestamptz IS NULL OR opened_at < $7)
                AND ($8::uuid IS NULL OR reservation_id < $8)
            ORDER BY reservation_id DESC LIMIT $9"#,
            tenant.0,
            id.map(|id| id.0) as Option<Uuid>,
            filter.account.map(|account| account.0) as Option<Uuid>,
            filter.sender.as_ref().map(|sender| sender.as_slice()) as Option<&[u8]>,
            states as Option<Vec<String>>,
            filter.opened_from.map(codec::timestamp).transpose()? as Option<OffsetDateTime>,
            filter.opened_until.map(codec::timestamp).transpose()? as Option<OffsetDateTime>,
            filter.before.map(|id| id.0) as Option<Uuid>,
            i64::from(limit.min(MAX_PAGE)),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(SponsorshipRow::view).collect()
    }
}

/// A reservation's columns, as far as look-ups show them.
struct SponsorshipRow {
    reservation_id: Uuid,
    account_id: Uuid,
    state: String,
    closing: bool,
    reserved_micropoints: i64,
    opened_at: OffsetDateTime,
    changed_at: OffsetDateTime,
    chain_id: i64,
    entry_point: Vec<u8>,
    sender: Vec<u8>,
    nonce: Vec<u8>,
    attempt: i32,
    paymaster: Vec<u8>,
    micropoints_per_e18_wei: i64,
    markup_bps: i32,
    price_source: String,
    price_block: i64,
    last_valid_until: i64,
    cost_micropoints: Option<i64>,
    settled_gas_cost_wei: Option<BigDecimal>,
    settled_success: Option<bool>,
    settled_user_op_hash: Option<Vec<u8>>,
    settled_transaction_hash: Option<Vec<u8>>,
    settled_block_number: Option<i64>,
    settled_block_hash: Option<Vec<u8>>,
}

impl SponsorshipRow {
    fn view(self) -> Result<SponsorshipView, StoreError> {
        let settlement = self.settlement()?;
        Ok(SponsorshipView {
            id: ReservationId(self.reservation_id),
            account: AccountId(self.account_id),
            slot: Slot {
                chain_id: ChainId(codec::unsigned(self.chain_id)?),
                entry_point: codec::address(&self.entry_point)?,
                sender: codec::address(&self.sender)?,
                nonce: codec::nonce(&self.nonce)?,
            },
            attempt: codec::unsigned(self.attempt)?,
            paymaster: codec::address(&self.paymaster)?,
            state: ViewState::parse(&self.state)?,
            closing: self.closing,
            reserved: codec::points(self.reserved_micropoints)?,
            quote: codec::quote(
                self.micropoints_per_e18_wei,
                self.markup_bps,
                self.price_source,
                self.price_block,
            )?,
            last_valid_until: codec::chain_time(self.last_valid_until)?,
            settlement,
            opened_at: codec::db_time(self.opened_at)?,
            changed_at: codec::db_time(self.changed_at)?,
        })
    }

    fn settlement(&self) -> Result<Option<SettlementView>, StoreError> {
        let Some(cost) = self.cost_micropoints else { return Ok(None) };
        Ok(Some(SettlementView {
            cost: codec::points(cost)?,
            gas_cost: codec::wei(codec::present(self.settled_gas_cost_wei.as_ref())?)?,
            success: codec::present(self.settled_success)?,
            user_op_hash: codec::hash(codec::present(self.settled_user_op_hash.as_deref())?)?,
            transaction_hash: codec::hash(codec::present(
                self.settled_transaction_hash.as_deref(),
            )?)?,
            block_number: codec::unsigned(codec::present(self.settled_block_number)?)?,
            block_hash: codec::hash(codec::present(self.settled_block_hash.as_deref())?)?,
        }))
    }
}
