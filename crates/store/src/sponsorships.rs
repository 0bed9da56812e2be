//! Reservations by slot: granting, closing, and the one place that opens a signature's seal.

use alloy_primitives::{Address, B256};
use domain::chain_fact::ChainTime;
use domain::ledger::journal::EntryKind;
use domain::ledger::sponsorship::{
    self, GrantOutcome, GrantRefusal, GrantRequest, SponsorshipReservation, SponsorshipState,
};
use domain::ledger::tcc::DbTime;
use domain::seal::Sealed;
use domain::{AccountId, AppId, ReservationId, Slot, TenantId};
use erc4337::sponsorship::SignatureForm;
use uuid::Uuid;

use crate::book::{Attempt, Book, Needs, NewGrant, NewSponsorship, Owner, Record};
use crate::command::Command;
use crate::command_keys::{KeyTarget, Keyed};
use crate::grants::load_grants;
use crate::reservations::RELEASED;
use crate::wallets::Wallet;
use crate::{Store, StoreError, codec};

pub use crate::grants::{CommittedGrant, PaymasterGas};

/// A signed variant of an operation that waits for its points.
#[derive(Debug)]
pub struct GrantCommand {
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
    pub signature: Sealed,
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

impl Command for GrantCommand {
    type Outcome = GrantAnswer;

    const ALONE: bool = true;

    fn owner(&self) -> Owner {
        Owner { tenant: self.tenant, account: self.account }
    }

    fn needs(&self, needs: &mut Needs) {
        let owner = self.owner();
        if let Some(keyed) = &self.keyed {
            needs.key(owner, &keyed.key);
        }
        needs.link(owner, self.wallet());
        needs.slot(owner, self.slot);
    }

    fn decide(&self, book: &mut Book) -> Result<GrantAnswer, StoreError> {
        let owner = self.owner();
        let Some(page) = book.page(owner) else { return Ok(GrantAnswer::WalletMoved) };
        let now = page.now;
        if let Some(answer) = self.keyed.as_ref().and_then(|keyed| keyed_answer(book, owner, keyed))
        {
            return answer;
        }
        if !book.links.contains(&(owner, self.wallet())) {
            return Ok(GrantAnswer::WalletMoved);
        }
        // A final attempt refuses every grant, whatever else is asked; so does its mark, once the attempt
        // itself is in the archive.
        if book.closed_slots.contains(&(owner, self.slot)) {
            return Ok(GrantAnswer::Refused(GrantRefusal::NonceUsed));
        }
        let found = book.attempts.get(&(owner, self.slot));
        if found.is_some_and(|attempt| {
            attempt.reservation.state == SponsorshipState::Open
                && attempt.paymaster != self.paymaster
        }) {
            return Ok(GrantAnswer::PaymasterChanged);
        }
        let latest = found.map(|attempt| &attempt.reservation);
        let (outcome, step) = sponsorship::grant(page.balances(), latest, &self.request);
        match (outcome, step.reservation) {
            (GrantOutcome::Refused(refusal), _) => Ok(GrantAnswer::Refused(refusal)),
            (GrantOutcome::Replayed(index), _) => {
                let grant = found.and_then(|attempt| attempt.grants.get(index)).cloned();
                let grant = codec::present(grant)?;
                self.remember(book, &grant, now);
                Ok(GrantAnswer::Replayed(grant))
            }
            (GrantOutcome::Granted, Some(reservation)) => {
                let grant = self.grant(book, reservation, now)?;
                let record = Record {
                    kind: EntryKind::Reserve,
                    postings: &step.postings,
                    reservation: Some(grant.reservation),
                    reference: None,
                    event: "sponsorship.granted",
                };
                book.record(owner, &record)?;
                self.remember(book, &grant, now);
                Ok(GrantAnswer::Granted(grant))
            }
            (GrantOutcome::Granted, None) => {
                Err(StoreError::Corrupt("a grant without reservation"))
            }
        }
    }
}

impl GrantCommand {
    const fn wallet(&self) -> Wallet {
        Wallet { chain: self.slot.chain_id, address: self.slot.sender }
    }

    fn remember(&self, book: &mut Book, grant: &CommittedGrant, now: DbTime) {
        let Some(keyed) = &self.keyed else { return };
        let CommittedGrant { reservation, grant_no, .. } = *grant;
        book.keyed_grants.insert((reservation, grant_no), grant.clone());
        book.remember(self.owner(), keyed, KeyTarget::Grant { reservation, grant_no }, now);
    }

    /// Opens an attempt or extends the open one, and adds the grant. The one place that opens the seal: what it lets out
    /// leaves the writer only when the grant is committed.
    fn grant(
        &self,
        book: &mut Book,
        reservation: SponsorshipReservation,
        now: DbTime,
    ) -> Result<CommittedGrant, StoreError> {
        let (owner, key) = (self.owner(), (self.owner(), self.slot));
        let open = book
            .attempts
            .get(&key)
            .filter(|attempt| attempt.reservation.attempt == reservation.attempt)
            .map(|attempt| attempt.id);
        let machine = *codec::present(reservation.grants.last())?;
        let grant_no = codec::signed32(reservation.grants.len())?;
        let id = if let Some(id) = open {
            book.change_attempt(owner, self.slot, reservation, None)?;
            id
        } else {
            let id = ReservationId(Uuid::now_v7());
            let Self { app, slot, paymaster, .. } = *self;
            let opened = reservation.clone();
            let row = NewSponsorship { owner, id, app, slot, paymaster, reservation: opened, now };
            book.rows.sponsorships.push(row);
            let attempt = Attempt { id, paymaster, reservation, grants: Vec::new() };
            book.attempts.insert(key, attempt);
            id
        };
        #[expect(clippy::disallowed_methods, reason = "the grant is committed with its signature")]
        let signature = *self.signature.open();
        let grant = CommittedGrant {
            reservation: id,
            grant_no,
            app: self.app,
            paymaster: self.paymaster,
            slot: self.slot,
            max_cost: machine.max_cost,
            points: machine.points,
            valid_until: machine.valid_until,
            form: self.form,
            digest: self.digest,
            signature,
            user_op_hash: self.user_op_hash,
            paymaster_gas: self.paymaster_gas,
            delegate: self.delegate,
        };
        if let Some(attempt) = book.attempts.get_mut(&key) {
            attempt.grants.push(grant.clone());
        }
        let request_hash = machine.request_hash;
        book.rows.grants.push(NewGrant { owner, request_hash, grant: grant.clone(), now });
        Ok(grant)
    }
}

/// The answer that a key was given before, if any.
fn keyed_answer(
    book: &Book,
    owner: Owner,
    keyed: &Keyed,
) -> Option<Result<GrantAnswer, StoreError>> {
    let used = book.keys.get(&(owner, keyed.key.clone()))?;
    Some(match used.target {
        KeyTarget::Grant { reservation, grant_no } if used.request_hash == keyed.request_hash => {
            let grant = book.keyed_grants.get(&(reservation, grant_no)).cloned();
            // Its month has left the archive too: the key is used, and no more is known.
            Ok(grant.map_or(GrantAnswer::KeyReused, GrantAnswer::Replayed))
        }
        KeyTarget::Grant { .. } | KeyTarget::Movement { .. } => Ok(GrantAnswer::KeyReused),
    })
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
    owner: Owner,
    slot: Slot,
    id: ReservationId,
}

impl Command for Close {
    type Outcome = CloseOutcome;

    const ALONE: bool = false;

    fn owner(&self) -> Owner {
        self.owner
    }

    fn needs(&self, needs: &mut Needs) {
        needs.slot(self.owner, self.slot);
    }

    fn decide(&self, book: &mut Book) -> Result<CloseOutcome, StoreError> {
        if book.page(self.owner).is_none() {
            return Ok(CloseOutcome::NotFound);
        }
        // An earlier attempt than the latest was released before the next could open.
        let latest = book.attempts.get(&(self.owner, self.slot));
        let Some(attempt) = latest.filter(|attempt| attempt.id == self.id) else {
            return Ok(CloseOutcome::Released);
        };
        let outcome = match attempt.reservation.state {
            SponsorshipState::Open => CloseOutcome::Closing(attempt.reservation.last_valid_until()),
            SponsorshipState::Provisional(_) | SponsorshipState::Final(_) => CloseOutcome::Settled,
            SponsorshipState::Released => CloseOutcome::Released,
        };
        let step = sponsorship::close(&attempt.reservation);
        if let Some(closing) = step.and_then(|step| step.reservation) {
            book.change_attempt(self.owner, self.slot, closing, None)?;
            let record = Record {
                kind: EntryKind::Release,
                postings: &[],
                reservation: Some(self.id),
                reference: None,
                event: "sponsorship.closing",
            };
            book.record(self.owner, &record)?;
        }
        Ok(outcome)
    }
}

impl Store {
    /// Reserves the points for a signed operation, and commits the signature with them.
    ///
    /// # Errors
    /// When the database does not carry it out; the caller repeats the same request.
    pub async fn grant(&self, command: GrantCommand) -> Result<GrantAnswer, StoreError> {
        self.writer.run(command).await
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
            r#"SELECT account_id, reservation_id AS "reservation_id!", grant_no AS "grant_no!"
            FROM command_keys
            WHERE tenant_id = $1 AND command_key = $2 AND command = 'sponsor' AND request_hash = $3
            ORDER BY recorded_at LIMIT 1"#,
            tenant.0,
            keyed.key.as_str(),
            keyed.request_hash.as_slice(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let owner = Owner { tenant, account: AccountId(row.account_id) };
        let reservation = ReservationId(row.reservation_id);
        let mut connection = self.pool.acquire().await?;
        let mut grants = load_grants(&mut connection, &[(owner, reservation)]).await?;
        let grants = grants.remove(&reservation).unwrap_or_default().into_iter();
        Ok(grants.map(|(_, grant)| grant).find(|grant| grant.grant_no == row.grant_no))
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
        let owner = Owner { tenant, account };
        let mut needs = Needs::default();
        needs.key(owner, &keyed.key);
        let mut connection = self.pool.acquire().await?;
        let book = Book::look(&mut connection, &needs).await?;
        let earlier = keyed_answer(&book, owner, keyed).transpose()?;
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
        let owner = Owner { tenant, account };
        let mut needs = Needs::default();
        needs.slot(owner, *slot);
        let mut connection = self.pool.acquire().await?;
        let mut book = Book::look(&mut connection, &needs).await?;
        let latest = book.attempts.remove(&(owner, *slot));
        let open = latest.filter(|attempt| attempt.reservation.state == SponsorshipState::Open);
        Ok(open.map(|attempt| OpenSponsorship {
            reservation: attempt.reservation,
            grants: attempt.grants,
        }))
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
            r#"SELECT account_id AS "account_id!", chain_id AS "chain_id!",
                entry_point AS "entry_point!", sender AS "sender!", nonce AS "nonce!",
                state AS "state!", is_archived AS "is_archived!"
            FROM every_reservation
            WHERE tenant_id = $1 AND reservation_id = $2 AND kind = 'sponsorship'"#,
            tenant.0,
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(CloseOutcome::NotFound) };
        if row.is_archived {
            let is_released = row.state == RELEASED;
            return Ok(if is_released { CloseOutcome::Released } else { CloseOutcome::Settled });
        }
        let slot = codec::slot(row.chain_id, &row.entry_point, &row.sender, &row.nonce)?;
        let owner = Owner { tenant, account: AccountId(row.account_id) };
        self.writer.run(Close { owner, slot, id }).await
    }
}
