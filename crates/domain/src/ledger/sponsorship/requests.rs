//! Grant and close, which a user asks for, and cancel, which gives back what nobody used.

use alloy_primitives::B256;

use super::{Grant, SponsorshipReservation, SponsorshipState};
use crate::chain_fact::{ChainTime, ReleaseGround, ReleaseProof};
use crate::ledger::{Balances, Column, Posting, Step};
use crate::quote::CostOutOfRange;
use crate::{Points, Quote, Wei, window};

/// The most grants one reservation takes: a wallet that bumps its fee by 10 % each time passes a
/// 30-fold fee before it reaches this.
pub const MAX_GRANTS: usize = 32;

/// A request for a grant: a try where the slot has no open reservation, an extension where it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRequest {
    /// Hash of the request, without window, price, signature and time.
    pub request_hash: B256,
    /// What the operation can cost at most.
    pub max_cost: Wei,
    /// The price if a new attempt opens; a bump inherits the open one's.
    pub quote: Quote,
    /// The end of the window that was signed.
    pub valid_until: ChainTime,
    /// Chain time of the head that the request was judged by.
    pub head: ChainTime,
    /// The most that a user may owe and still open a sponsorship.
    pub debt_ceiling: Points,
}

/// A grant that is not given. Everything earlier stays as it was, and nothing is remembered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// Too few points.
    #[error("the account has {available} points available, the operation needs {needed} more")]
    InsufficientPoints {
        /// What is available.
        available: Points,
        /// What would have to be set aside in addition.
        needed: Points,
    },
    /// The user owes more than a new sponsorship allows. Credits repay first.
    #[error("the account owes {debt} points, a new sponsorship needs {ceiling} or less")]
    DebtAboveCeiling {
        /// What the user owes.
        debt: Points,
        /// The most that is allowed.
        ceiling: Points,
    },
    /// The slot was used by an operation that settled.
    #[error("an operation with this nonce has already landed")]
    NonceUsed,
    /// The attempt is being cancelled.
    #[error("this sponsorship is being cancelled")]
    Closing,
    /// The attempt has as many grants as one may have.
    #[error("this nonce has been signed {MAX_GRANTS} times already")]
    TooManyGrants,
    /// The operation's cost is beyond what points can express.
    #[error(transparent)]
    CostOutOfRange(#[from] CostOutOfRange),
}

/// What became of a request for a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantOutcome {
    /// A new grant, the last of the reservation in the step.
    Granted,
    /// The request had been granted and most of its window remains; its index in the grants.
    Replayed(usize),
    /// Not granted.
    Refused(GrantRefusal),
}

/// What became of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// All points are returned.
    Released,
    /// They had been returned before, or nothing was set aside.
    Replayed,
    /// The proof does not reach the last grant's window.
    NotYet,
    /// The operation landed.
    AlreadySettled,
}

/// Decides a request for a grant on the latest attempt of its slot.
#[must_use]
pub fn grant(
    balances: &Balances,
    latest: Option<&SponsorshipReservation>,
    request: &GrantRequest,
) -> (GrantOutcome, Step<SponsorshipReservation>) {
    let decision = match latest {
        None => open(balances, 1, request),
        Some(reservation) => match reservation.state {
            SponsorshipState::Released => {
                open(balances, reservation.attempt.saturating_add(1), request)
            }
            SponsorshipState::Provisional(_) | SponsorshipState::Final(_) => {
                Err(GrantRefusal::NonceUsed)
            }
            SponsorshipState::Open => extend(balances, reservation, request),
        },
    };
    decision.unwrap_or_else(|refusal| (GrantOutcome::Refused(refusal), Step::unchanged()))
}

type Granted = Result<(GrantOutcome, Step<SponsorshipReservation>), GrantRefusal>;

/// Refuses a new attempt to a user who owes too much. A bump goes on: its operation is signed, and
/// could not be mended otherwise.
///
/// # Errors
/// [`GrantRefusal::DebtAboveCeiling`].
pub const fn refuse_debtor(balances: &Balances, ceiling: Points) -> Result<(), GrantRefusal> {
    let debt = balances.debt;
    if debt.micropoints() > ceiling.micropoints() {
        return Err(GrantRefusal::DebtAboveCeiling { debt, ceiling });
    }
    Ok(())
}

fn open(balances: &Balances, attempt: u32, request: &GrantRequest) -> Granted {
    let points = request.quote.cost(request.max_cost)?;
    refuse_debtor(balances, request.debt_ceiling)?;
    if balances.available < points {
        return Err(GrantRefusal::InsufficientPoints {
            available: balances.available,
            needed: points,
        });
    }
    let reservation = SponsorshipReservation {
        attempt,
        quote: request.quote.clone(),
        reserved: points,
        closing: false,
        grants: vec![new_grant(request, points)],
        state: SponsorshipState::Open,
    };
    let posting = Posting::new(Column::Available, Column::Reserved, points);
    Ok((GrantOutcome::Granted, Step::to(reservation, [posting])))
}

fn extend(
    balances: &Balances,
    reservation: &SponsorshipReservation,
    request: &GrantRequest,
) -> Granted {
    if reservation.closing {
        return Err(GrantRefusal::Closing);
    }
    let repeat = reservation.grants.iter().rposition(|grant| {
        grant.request_hash == request.request_hash
            && window::is_reusable(grant.valid_until, request.head)
    });
    if let Some(index) = repeat {
        return Ok((GrantOutcome::Replayed(index), Step::unchanged()));
    }
    if reservation.grants.len() >= MAX_GRANTS {
        return Err(GrantRefusal::TooManyGrants);
    }
    let points = reservation.quote.cost(request.max_cost)?;
    let needed = points.saturating_sub(reservation.reserved);
    if balances.available < needed {
        return Err(GrantRefusal::InsufficientPoints { available: balances.available, needed });
    }
    let mut extended = reservation.clone();
    extended.reserved = reservation.reserved.max(points);
    extended.grants.push(new_grant(request, points));
    let posting = Posting::new(Column::Available, Column::Reserved, needed);
    Ok((GrantOutcome::Granted, Step::to(extended, [posting])))
}

const fn new_grant(request: &GrantRequest, points: Points) -> Grant {
    Grant {
        request_hash: request.request_hash,
        max_cost: request.max_cost,
        points,
        valid_until: request.valid_until,
    }
}

/// Closes an attempt to repeats and bumps, at the user's wish. The points return only by
/// [`cancel`]. `None` where there is nothing to close.
#[must_use]
pub fn close(reservation: &SponsorshipReservation) -> Option<Step<SponsorshipReservation>> {
    match reservation.state {
        SponsorshipState::Open if !reservation.closing => {
            let closing = SponsorshipReservation { closing: true, ..reservation.clone() };
            Some(Step::to(closing, []))
        }
        SponsorshipState::Open
        | SponsorshipState::Provisional(_)
        | SponsorshipState::Final(_)
        | SponsorshipState::Released => None,
    }
}

/// Returns what was set aside, on proof that no grant landed or can land.
#[must_use]
pub fn cancel(
    latest: Option<&SponsorshipReservation>,
    proof: &ReleaseProof,
) -> (CancelOutcome, Step<SponsorshipReservation>) {
    let unchanged = |outcome| (outcome, Step::unchanged());
    let Some(reservation) = latest else {
        return unchanged(CancelOutcome::Replayed);
    };
    match reservation.state {
        SponsorshipState::Released => unchanged(CancelOutcome::Replayed),
        SponsorshipState::Provisional(_) | SponsorshipState::Final(_) => {
            unchanged(CancelOutcome::AlreadySettled)
        }
        SponsorshipState::Open => {
            let at = proof.final_block().timestamp;
            let is_over = match proof.ground() {
                ReleaseGround::WindowPassed => window::is_past(reservation.last_valid_until(), at),
                ReleaseGround::NonceUsed => true,
            };
            if !is_over {
                return unchanged(CancelOutcome::NotYet);
            }
            let state = SponsorshipState::Released;
            let released = SponsorshipReservation { state, ..reservation.clone() };
            let give_back = Posting::new(Column::Reserved, Column::Available, reservation.reserved);
            (CancelOutcome::Released, Step::to(released, [give_back]))
        }
    }
}
