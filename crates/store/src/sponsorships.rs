//! Reservations by slot: granting, closing, and the one place that opens a signature's seal.

use alloy_primitives::{Address, B256};
use domain::chain_fact::ChainTime;
use domain::ledger::journal::EntryKind;
use domain::ledger::sponsorship::{
    self, GrantOutcome, GrantRefusal, GrantRequest, SponsorshipReservation, SponsorshipState,
};
use domain::seal::Sealed;
use domain::{AccountId, AppId, ReservationId, Slot, TenantId};
use erc4337::sponsorship::SignatureForm;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::account_lock::LockedAccount;
use crate::command::{Command, commit};
use crate::command_keys::{self, KeyTarget, Keyed};
use crate::grants::{form_name, load_committed, load_grant};
use crate::reservations::{self, Placement};
use crate::wallets::{self, Wallet};
use crate::{Store, StoreError, codec};

pub use crate::grants::{CommittedGrant, PaymasterGas};

/// A signed variant of an operation that waits for its points.
#[derive(Debug)]
pub struct GrantCommand<'a> {
    /// The company.
    pub tenant: TenantId,
    /// The user's account.
    pub account: AccountId,
    /// The application that asks.
    pub app: AppId,
    /// Where the operation can land.
    pub slot: Slot,
    /// The paymaster that pays.
    pub paymaster: Address,
    /// What the machine decides on.
    pub request: GrantRequest,
    /// In which form it was signed.
    pub form: SignatureForm,
    /// The digest that was signed.
    pub digest: B256,
    /// The signature, in its seal.
    pub signature: &'a Sealed,
    /// The operation's hash with that signature.
    pub user_op_hash: B256,
    /// Gas limits of the paymaster, as signed.
    pub paymaster_gas: PaymasterGas,
    /// The sender's EIP-7702 delegate, if it has one.
    pub delegate: Option<Address>,
    /// The caller's key, where it gave one.
    pub keyed: Option<Keyed>,
}

/// The open attempt on a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSponsorship {
    /// As the machine sees it.
    pub reservation: SponsorshipReservation,
    /// Its grants with their signatures, in the order of the reservation's.
    pub grants: Vec<CommittedGrant>,
}

/// What became of a request for a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantAnswer {
    /// Granted now.
    Granted(CommittedGrant),
    /// Granted before.
    Replayed(CommittedGrant),
    /// Not granted; nothing changed.
    Refused(GrantRefusal),
    /// The wallet is no longer linked to the account.
    WalletMoved,
    /// The slot's open attempt rests on another paymaster, so that a bump cannot join it.
    PaymasterChanged,
    /// The caller's key was used for another request.
    KeyReused,
}

impl Command for GrantCommand<'_> {
    type Outcome = GrantAnswer;

    async fn execute(&self, connection: &mut PgConnection) -> Result<GrantAnswer, StoreError> {
        let locked = LockedAccount::lock(connection, self.tenant, self.account).await?;
        let Some(mut account) = locked else { return Ok(GrantAnswer::WalletMoved) };
        if let Some(answer) = self.replay_by_key(connection).await? {
            return Ok(answer);
        }
        let wallet = Wallet { chain: self.slot.chain_id, address: self.slot.sender };
        if !wallets::is_linked(connection, self.tenant, self.account, wallet).await? {
            return Ok(GrantAnswer::WalletMoved);
        }
        let latest =
            reservations::load_latest(connection, self.tenant, self.account, &self.slot).await?;
        if latest.as_ref().is_some_and(|loaded| {
            loaded.reservation.state == SponsorshipState::Open && loaded.paymaster != self.paymaster
        }) {
            return Ok(GrantAnswer::PaymasterChanged);
        }
        let found = latest.as_ref().map(|loaded| &loaded.reservation);
        let (outcome, step) = sponsorship::grant(account.balances(), found, &self.request);
        match (outcome, step.reservation) {
            (GrantOutcome::Refused(refusal), _) => Ok(GrantAnswer::Refused(refusal)),
            (GrantOutcome::Replayed(index), _) => {
                let loaded = latest.as_ref().map(|loaded| loaded.id);
                let id = codec::present(loaded)?;
                let grant_no = codec::signed32(index.saturating_add(1))?;
                self.remember_key(connection, &account, id, grant_no).await?;
                let grant = load_grant(connection, self.tenant, id, grant_no).await?;
                Ok(GrantAnswer::Replayed(codec::present(grant)?))
            }
            (GrantOutcome::Granted, Some(reservation)) => {
                let open =
                    latest.filter(|loaded| loaded.reservation.attempt == reservation.attempt);
                let id = match open {
                    Some(loaded) => {
                        let id = loaded.id;
                        reservations::update_open(connection, &account, id, &reservation).await?;
                        id
                    }
                    None => self.open(connection, &account, &reservation).await?,
                };
                let grant_no = self.insert_grant(connection, &account, id, &reservation).await?;
                self.remember_key(connection, &account, id, grant_no).await?;
                let (kind, event) = (EntryKind::Reserve, "sponsorship.granted");
                account.record(kind, &step.postings, Some(id), event)?;
                account.write(connection).await?;
                let grant = load_grant(connection, self.tenant, id, grant_no).await?;
                Ok(GrantAnswer::Granted(codec::present(grant)?))
            }
            (GrantOutcome::Granted, None) => {
                Err(StoreError::Corrupt("a grant without reservation"))
            }
        }
    }
}

impl GrantCommand<'_> {
    async fn replay_by_key(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<GrantAnswer>, StoreError> {
        let Some(keyed) = &self.keyed else { return Ok(None) };
        keyed_grant(connection, self.tenant, self.account, keyed).await
    }

    async fn remember_key(
        &self,
        connection: &mut PgConnection,
        account: &LockedAccount,
        reservation: ReservationId,
        grant_no: i32,
    ) -> Result<(), StoreError> {
        let Some(keyed) = &self.keyed else { return Ok(()) };
        let target = KeyTarget::Grant { reservation, grant_no };
        command_keys::remember(connection, account, keyed, &target).await
    }

    async fn open(
        &self,
        connection: &mut PgConnection,
        account: &LockedAccount,
        reservation: &SponsorshipReservation,
    ) -> Result<ReservationId, StoreError> {
        let id = ReservationId(Uuid::now_v7());
        let placement = Placement { app: self.app, slot: self.slot, paymaster: self.paymaster };
        reservations::insert(connection, account, id, &placement, reservation).await?;
        Ok(id)
    }

    /// Writes the grant, and with it the signature: the one place that opens the seal.
    async fn insert_grant(
        &self,
        connection: &mut PgConnection,
        account: &LockedAccount,
        id: ReservationId,
        reservation: &SponsorshipReservation,
    ) -> Result<i32, StoreError> {
        let grant = codec::present(reservation.grants.last())?;
        let grant_no = codec::signed32(reservation.grants.len())?;
        #[expect(clippy::disallowed_methods, reason = "the grant is committed with its signature")]
        let signature = self.signature.open();
        sqlx::query!(
            r#"INSERT INTO grants (tenant_id, account_id, reservation_id, grant_no, request_hash,
                max_cost_wei, max_cost_micropoints, valid_until, digest, signature,
                paymaster_verification_gas_limit, paymaster_post_op_gas_limit, user_op_hash,
                delegate, recorded_at, app_id, form)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"#,
            self.tenant.0,
            self.account.0,
            id.0,
            grant_no,
            grant.request_hash.as_slice(),
            codec::numeric(grant.max_cost.0)?,
            codec::micropoints(grant.points),
            codec::signed(grant.valid_until.0)?,
            self.digest.as_slice(),
            signature.as_slice(),
            codec::signed(self.paymaster_gas.verification.0)?,
            codec::signed(self.paymaster_gas.post_op.0)?,
            self.user_op_hash.as_slice(),
            self.delegate.as_ref().map(|delegate| delegate.as_slice()),
            codec::timestamp(account.now)?,
            self.app.0,
            form_name(self.form),
        )
        .execute(connection)
        .await?;
        Ok(grant_no)
    }
}

/// The answer that a key was given before, if any.
async fn keyed_grant(
    connection: &mut PgConnection,
    tenant: TenantId,
    account: AccountId,
    keyed: &Keyed,
) -> Result<Option<GrantAnswer>, StoreError> {
    let Some(used) = command_keys::find(connection, tenant, account, &keyed.key).await? else {
        return Ok(None);
    };
    match used.target {
        KeyTarget::Grant { reservation, grant_no } if used.request_hash == keyed.request_hash => {
            let grant = load_grant(connection, tenant, reservation, grant_no).await?;
            Ok(Some(GrantAnswer::Replayed(codec::present(grant)?)))
        }
        KeyTarget::Grant { .. } | KeyTarget::Movement { .. } => Ok(Some(GrantAnswer::KeyReused)),
    }
}

/// What became of a wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseOutcome {
    /// No repeat and no bump any more; released once a final block is later than this.
    Closing(ChainTime),
    /// It is released.
    Released,
    /// The operation landed.
    Settled,
    /// There is no such sponsorship.
    NotFound,
}

struct Close {
    tenant: TenantId,
    account: AccountId,
    slot: Slot,
    id: ReservationId,
}

impl Command for Close {
    type Outcome = CloseOutcome;

    async fn execute(&self, connection: &mut PgConnection) -> Result<CloseOutcome, StoreError> {
        let locked = LockedAccount::lock(connection, self.tenant, self.account).await?;
        let Some(mut account) = locked else { return Ok(CloseOutcome::NotFound) };
        let latest =
            reservations::load_latest(connection, self.tenant, self.account, &self.slot).await?;
        // An earlier attempt than the latest was released before the next could open.
        let Some(loaded) = latest.filter(|loaded| loaded.id == self.id) else {
            return Ok(CloseOutcome::Released);
        };
        let step = sponsorship::close(&loaded.reservation);
        if let Some(closing) = step.and_then(|step| step.reservation) {
            reservations::update_open(connection, &account, loaded.id, &closing).await?;
            account.record(EntryKind::Release, &[], Some(loaded.id), "sponsorship.closing")?;
            account.write(connection).await?;
        }
        Ok(match loaded.reservation.state {
            SponsorshipState::Open => CloseOutcome::Closing(loaded.reservation.last_valid_until()),
            SponsorshipState::Provisional(_) | SponsorshipState::Final(_) => CloseOutcome::Settled,
            SponsorshipState::Released => CloseOutcome::Released,
        })
    }
}

impl Store {
    /// Reserves the points for a signed operation, and commits the signature with them.
    ///
    /// # Errors
    /// When the database does not carry it out; the caller repeats the same request.
    pub async fn grant(&self, command: &GrantCommand<'_>) -> Result<GrantAnswer, StoreError> {
        commit(&self.pool, command).await
    }

    /// What this very request was given before under its key, whichever account its wallet belonged
    /// to then.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn keyed_grant(
        &self,
        tenant: TenantId,
        keyed: &Keyed,
    ) -> Result<Option<CommittedGrant>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT reservation_id AS "reservation_id!", grant_no AS "grant_no!" FROM command_keys
            WHERE tenant_id = $1 AND command_key = $2 AND command = 'sponsor' AND request_hash = $3
            ORDER BY recorded_at LIMIT 1"#,
            tenant.0,
            keyed.key.as_str(),
            keyed.request_hash.as_slice(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mut connection = self.pool.acquire().await?;
        load_grant(&mut connection, tenant, ReservationId(row.reservation_id), row.grant_no).await
    }

    /// Whether the account's key was used for another request than this.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn is_key_reused(
        &self,
        tenant: TenantId,
        account: AccountId,
        keyed: &Keyed,
    ) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let earlier = keyed_grant(&mut connection, tenant, account, keyed).await?;
        Ok(earlier == Some(GrantAnswer::KeyReused))
    }

    /// The open attempt on a slot: what may be repeated or forwarded. A read without a lock, to spare
    /// work; [`Store::grant`] decides.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn open_sponsorship(
        &self,
        tenant: TenantId,
        account: AccountId,
        slot: &Slot,
    ) -> Result<Option<OpenSponsorship>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let latest = reservations::load_latest(&mut connection, tenant, account, slot).await?;
        let open = latest.filter(|found| found.reservation.state == SponsorshipState::Open);
        let Some(loaded) = open else { return Ok(None) };
        let grants = load_committed(&mut connection, tenant, loaded.id).await?;
        Ok(Some(OpenSponsorship { reservation: loaded.reservation, grants }))
    }

    /// Closes an attempt to repeats and bumps, at the user's wish.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn close_sponsorship(
        &self,
        tenant: TenantId,
        id: ReservationId,
    ) -> Result<CloseOutcome, StoreError> {
        let row = sqlx::query!(
            r#"SELECT account_id, chain_id AS "chain_id!", entry_point AS "entry_point!",
                sender AS "sender!", nonce AS "nonce!"
            FROM reservations
            WHERE tenant_id = $1 AND reservation_id = $2 AND kind = 'sponsorship'"#,
            tenant.0,
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(CloseOutcome::NotFound) };
        let slot = Slot {
            chain_id: domain::ChainId(codec::unsigned(row.chain_id)?),
            entry_point: codec::address(&row.entry_point)?,
            sender: codec::address(&row.sender)?,
            nonce: codec::nonce(&row.nonce)?,
        };
        let account = AccountId(row.account_id);
        commit(&self.pool, &Close { tenant, account, slot, id }).await
    }
}
