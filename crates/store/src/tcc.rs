//! Reservations by biz id, for the company's other services.

use core::time::Duration;

use domain::ids::BizId;
use domain::ledger::journal::EntryKind;
use domain::ledger::tcc::{
    self, DbTime, TccCommand, TccOutcome, TccReservation, TccState, TccTerms,
};
use domain::{AccountId, Points, ReservationId, TenantId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::book::{Book, Needs, NewTcc, Owner, Record, Tried};
use crate::command::Command;
use crate::reservations::{FINAL, OPEN, REJECTED, RELEASED};
use crate::{Store, StoreError, codec};

/// How long a biz id is remembered. A try of an unknown one that was issued longer ago is refused.
pub const BIZ_ID_RETENTION: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What a TCC coordinator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TccRequest {
    /// Set points aside.
    Try {
        /// What for.
        terms: TccTerms,
        /// When the coordinator issued it.
        issued_at: DbTime,
    },
    /// Spend an amount, or all, of what was set aside.
    Confirm {
        /// How much; `None` for all.
        amount: Option<Points>,
    },
    /// Return what was set aside.
    Cancel,
    /// Return what was set aside, if its time is past by the database's clock.
    Expire,
}

/// A command on a biz id.
#[derive(Clone, Debug)]
pub struct TccCall {
    /// The company.
    pub tenant: TenantId,
    /// The user's account.
    pub account: AccountId,
    /// The key.
    pub biz_id: BizId,
    /// The command.
    pub request: TccRequest,
}

/// What became of a TCC command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TccAnswer {
    /// What the machine decided, and the reservation as it stands; `None` where there is none.
    Decided(TccOutcome, Option<TccReservation>),
    /// There is no such account.
    NoAccount,
}

impl Command for TccCall {
    type Outcome = TccAnswer;

    const ALONE: bool = true;

    fn owner(&self) -> Owner {
        Owner { tenant: self.tenant, account: self.account }
    }

    fn needs(&self, needs: &mut Needs) {
        match self.request {
            TccRequest::Try { .. } => needs.biz_id(self.owner(), &self.biz_id),
            // Rare, and answered by what was, however long ago; what is there never changes.
            TccRequest::Confirm { .. } | TccRequest::Cancel | TccRequest::Expire => {
                needs.old_biz_id(self.owner(), &self.biz_id);
            }
        }
    }

    fn decide(&self, book: &mut Book) -> Result<TccAnswer, StoreError> {
        let owner = self.owner();
        let Some(page) = book.page(owner) else { return Ok(TccAnswer::NoAccount) };
        let (now, key) = (page.now, (owner, self.biz_id.clone()));
        let existing = book.tried.get(&key).copied();
        let found = existing.map(|tried| tried.reservation);
        let (outcome, step) = tcc::apply(page.balances(), found.as_ref(), &self.command(now));
        let Some(reservation) = step.reservation else {
            return Ok(TccAnswer::Decided(outcome, found));
        };
        let id = match existing {
            Some(Tried { id, reservation: before }) => {
                book.rows.change_tcc(owner, id, &before, &reservation, now);
                id
            }
            None => {
                let id = ReservationId(Uuid::now_v7());
                let biz_id = self.biz_id.clone();
                book.rows.tccs.push(NewTcc { owner, id, biz_id, reservation, now });
                id
            }
        };
        book.tried.insert(key, Tried { id, reservation });
        let (kind, event) = match reservation.state {
            TccState::Open => (EntryKind::Reserve, "tcc.reserved"),
            TccState::Settled { .. } => (EntryKind::Confirm, "tcc.settled"),
            TccState::Released => (EntryKind::Release, "tcc.released"),
            TccState::Rejected { .. } => (EntryKind::Reserve, "tcc.rejected"),
        };
        let (postings, reservation_id) = (&step.postings, Some(id));
        let record = Record { kind, postings, reservation: reservation_id, reference: None, event };
        book.record(owner, &record)?;
        Ok(TccAnswer::Decided(outcome, Some(reservation)))
    }
}

impl TccCall {
    fn command(&self, now: DbTime) -> TccCommand {
        match self.request {
            TccRequest::Try { terms, issued_at } => {
                let retention = i64::try_from(BIZ_ID_RETENTION.as_micros()).unwrap_or(i64::MAX);
                let oldest = DbTime(now.0.saturating_sub(retention));
                TccCommand::Try { terms, issued_at, oldest }
            }
            TccRequest::Confirm { amount } => TccCommand::Confirm { amount },
            TccRequest::Cancel => TccCommand::Cancel,
            TccRequest::Expire => TccCommand::Expire { now },
        }
    }
}

/// A reservation as its row has it.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub(crate) state: String,
    pub(crate) requested: Option<i64>,
    pub(crate) expires_at: Option<OffsetDateTime>,
    pub(crate) settled: Option<i64>,
    pub(crate) rejected_available: Option<i64>,
}

/// The name of a reservation's state in SQL.
pub(crate) const fn state_name(reservation: &TccReservation) -> &'static str {
    match reservation.state {
        TccState::Open => OPEN,
        TccState::Settled { .. } => FINAL,
        TccState::Released => RELEASED,
        TccState::Rejected { .. } => REJECTED,
    }
}

impl Columns {
    pub(crate) fn of(reservation: &TccReservation) -> Result<Self, StoreError> {
        let terms = reservation.terms;
        let (settled, rejected_available) = match reservation.state {
            TccState::Open | TccState::Released => (None, None),
            TccState::Settled { amount } => (Some(codec::micropoints(amount)), None),
            TccState::Rejected { available } => (None, Some(codec::micropoints(available))),
        };
        let expires_at = terms.and_then(|terms| terms.expires_at);
        Ok(Self {
            state: state_name(reservation).to_owned(),
            requested: terms.map(|terms| codec::micropoints(terms.amount)),
            expires_at: expires_at.map(codec::timestamp).transpose()?,
            settled,
            rejected_available,
        })
    }

    /// What was set aside at first: nothing where the try was refused, or never came.
    pub(crate) fn reserved(&self) -> i64 {
        if self.state == REJECTED { 0 } else { self.requested.unwrap_or_default() }
    }

    pub(crate) fn reservation(&self) -> Result<TccReservation, StoreError> {
        let state = match self.state.as_str() {
            OPEN => TccState::Open,
            FINAL => TccState::Settled { amount: codec::points(codec::present(self.settled)?)? },
            RELEASED => TccState::Released,
            REJECTED => TccState::Rejected {
                available: codec::points(codec::present(self.rejected_available)?)?,
            },
            _ => return Err(StoreError::Corrupt("tcc state")),
        };
        let expires_at = self.expires_at.map(codec::db_time).transpose()?;
        let terms = self
            .requested
            .map(|amount| {
                Ok::<_, StoreError>(TccTerms { amount: codec::points(amount)?, expires_at })
            })
            .transpose()?;
        Ok(TccReservation { terms, state })
    }
}

impl Store {
    /// Carries out a TCC command, once.
    ///
    /// # Errors
    /// When the database does not carry it out; the caller repeats it with the same biz id.
    pub async fn tcc(&self, call: &TccCall) -> Result<TccAnswer, StoreError> {
        self.writer.run(call.clone()).await
    }
}
