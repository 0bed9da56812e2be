//! The sponsorship machine: reservations keyed by slot and attempt, commanded by requests and by the
//! chain only.
//!
//! | state | grant | confirm(fact) | undo(fact) | finalise(fact) | cancel(proof) |
//! | --- | --- | --- | --- | --- | --- |
//! | nothing | open; or refused, nothing remembered | unknown: suspense, alarm | – | – | nothing |
//! | open | a repeat: same grant; a bump: extended by the difference, or refused | settled (provisional) | replay | out of order | released |
//! | settled (provisional) | `nonce_used` | same block: replay; another: set aside | open | settled (final), rest returned | refused |
//! | settled (final) | `nonce_used` | replay, or set aside | set aside: a named halt | replay | refused |
//! | released | the next attempt | late landing: from available, shortage to debt | replay | out of order | replay |
//!
//! A chain fact is never refused: what cannot be applied is set aside with its reason.

use alloy_primitives::B256;

use super::{Balances, Column, Posting, Step};
use crate::chain_fact::{ChainFact, ChainTime, ReleaseProof, Sighting};
use crate::quote::CostOutOfRange;
use crate::{Points, Quote, Wei, window};

/// The most grants one reservation takes: a wallet that bumps its fee by 10 % each time passes a
/// 30-fold fee before it reaches this.
pub const MAX_GRANTS: usize = 32;

/// One signed variant of the operation, as far as the machine needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Hash of the request, without window, price, signature and time.
    pub request_hash: B256,
    /// What the operation can cost at most.
    pub max_cost: Wei,
    /// The same in points, by the reservation's quote.
    pub points: Points,
    /// The last block time at which the operation can land.
    pub valid_until: ChainTime,
}

/// From which columns a settlement took its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Where the event stands.
    pub sighting: Sighting,
    /// Taken from what the reservation held.
    pub from_reserved: Points,
    /// Taken from what was available, because the reservation held too little.
    pub from_available: Points,
    /// Lent, because that was too little as well.
    pub from_debt: Points,
    /// Where the reservation stood before, and returns to if the block goes away.
    pub before: Unsettled,
}

/// The two states from which an event settles a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// Its points were set aside.
    Open,
    /// They had been given back: a late landing.
    Released,
}

/// Where a sponsorship's reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SponsorshipState {
    /// The points are set aside; a grant can land.
    Open,
    /// Settled in a block that may still go away; the rest stays set aside.
    Provisional(Settlement),
    /// Settled in a final block; the rest is returned.
    Final(Settlement),
    /// Proven that no grant landed or can land; all is returned.
    Released,
}

/// One attempt on a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SponsorshipReservation {
    /// From 1; a released slot may be tried again.
    pub attempt: u32,
    /// The price, fixed when the attempt opened.
    pub quote: Quote,
    /// What is set aside: the dearest grant, never the sum.
    pub reserved: Points,
    /// Whether the user asked to cancel: no repeat and no bump any more.
    pub closing: bool,
    /// The signed variants, oldest first.
    pub grants: Vec<Grant>,
    /// Where it stands.
    pub state: SponsorshipState,
}

impl SponsorshipReservation {
    /// The last block time at which any grant can land.
    #[must_use]
    pub fn last_valid_until(&self) -> ChainTime {
        self.grants.iter().map(|grant| grant.valid_until).max().unwrap_or(ChainTime(0))
    }
}

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

/// Why a chain fact could not be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetAside {
    /// No reservation of ours is in this slot.
    #[error("unknown_operation")]
    UnknownOperation,
    /// The slot is settled by an event of another block.
    #[error("settled_elsewhere")]
    SettledElsewhere,
    /// The event's block went away after it had been final.
    #[error("undo_after_final")]
    UndoAfterFinal,
    /// The cost is beyond what points, or the account's columns, can express.
    #[error("cost_out_of_range")]
    CostOutOfRange,
    /// The event is to become final but was never settled.
    #[error("final_before_settled")]
    FinalBeforeSettled,
}

/// What became of a chain fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactOutcome {
    /// Applied now.
    Applied,
    /// Applied now, and it cost more than the reservation held: raise an alarm.
    AppliedWithShortage {
        /// What was taken from the available points.
        from_available: Points,
        /// What was lent.
        from_debt: Points,
    },
    /// Applied before, or meant for a state that is gone; nothing changed.
    Replayed,
    /// Not applicable: kept with its reason, for people.
    SetAside(SetAside),
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

fn open(balances: &Balances, attempt: u32, request: &GrantRequest) -> Granted {
    let points = request.quote.cost(request.max_cost)?;
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

type Fact = (FactOutcome, Step<SponsorshipReservation>);

const fn replayed() -> Fact {
    (FactOutcome::Replayed, Step::unchanged())
}

const fn set_aside(reason: SetAside) -> Fact {
    (FactOutcome::SetAside(reason), Step::unchanged())
}

/// Settles what the EntryPoint charged, provisionally.
#[must_use]
pub fn confirm(
    balances: &Balances,
    latest: Option<&SponsorshipReservation>,
    fact: &ChainFact,
) -> Fact {
    let sighting = fact.event().sighting;
    let Some(reservation) = latest else {
        return set_aside(SetAside::UnknownOperation);
    };
    match reservation.state {
        SponsorshipState::Open => settle(balances, reservation, Unsettled::Open, fact),
        SponsorshipState::Released => settle(balances, reservation, Unsettled::Released, fact),
        SponsorshipState::Provisional(settlement) if is_same_log(&settlement, &sighting) => {
            if settlement.sighting.visit >= sighting.visit {
                return replayed();
            }
            // The block went and came back before its undo was applied: the settlement stands, and
            // the undo of the earlier visit must not hit it.
            let restamped = Settlement { sighting, ..settlement };
            let state = SponsorshipState::Provisional(restamped);
            let step = Step::to(SponsorshipReservation { state, ..reservation.clone() }, []);
            (FactOutcome::Applied, step)
        }
        SponsorshipState::Final(settlement) if is_same_log(&settlement, &sighting) => replayed(),
        SponsorshipState::Provisional(_) | SponsorshipState::Final(_) => {
            set_aside(SetAside::SettledElsewhere)
        }
    }
}

fn settle(
    balances: &Balances,
    reservation: &SponsorshipReservation,
    before: Unsettled,
    fact: &ChainFact,
) -> Fact {
    let Ok(cost) = reservation.quote.cost(fact.event().actual_gas_cost) else {
        return set_aside(SetAside::CostOutOfRange);
    };
    let held = match before {
        Unsettled::Open => reservation.reserved,
        Unsettled::Released => Points::ZERO,
    };
    let from_reserved = cost.min(held);
    let excess = cost.saturating_sub(from_reserved);
    let from_available = excess.min(balances.available);
    let from_debt = excess.saturating_sub(from_available);
    let postings = [
        Posting::new(Column::Reserved, Column::Spent, from_reserved),
        Posting::new(Column::Available, Column::Spent, from_available),
        Posting::new(Column::Debt, Column::Spent, from_debt),
    ];
    if balances.after_all(&postings).is_err() {
        return set_aside(SetAside::CostOutOfRange);
    }
    let settlement = Settlement {
        sighting: fact.event().sighting,
        from_reserved,
        from_available,
        from_debt,
        before,
    };
    let settled = SponsorshipReservation {
        state: SponsorshipState::Provisional(settlement),
        ..reservation.clone()
    };
    let outcome = if excess.is_zero() {
        FactOutcome::Applied
    } else {
        FactOutcome::AppliedWithShortage { from_available, from_debt }
    };
    (outcome, Step::to(settled, postings))
}

/// Takes a settlement back whose block went away. At the head only the cost has moved, so that this
/// is always possible: what was lent and has been repaid since goes to the user, not to the debt.
#[must_use]
pub fn undo(
    balances: &Balances,
    latest: Option<&SponsorshipReservation>,
    fact: &ChainFact,
) -> Fact {
    let sighting = fact.event().sighting;
    let Some(reservation) = latest else {
        return replayed();
    };
    match reservation.state {
        SponsorshipState::Provisional(settlement) if settlement.sighting == sighting => {
            let state = match settlement.before {
                Unsettled::Open => SponsorshipState::Open,
                Unsettled::Released => SponsorshipState::Released,
            };
            let still_owed = settlement.from_debt.min(balances.debt);
            let repaid = settlement.from_debt.saturating_sub(still_owed);
            let postings = [
                Posting::new(Column::Spent, Column::Reserved, settlement.from_reserved),
                Posting::new(Column::Spent, Column::Available, settlement.from_available),
                Posting::new(Column::Spent, Column::Debt, still_owed),
                Posting::new(Column::Spent, Column::Available, repaid),
            ];
            let undone = SponsorshipReservation { state, ..reservation.clone() };
            (FactOutcome::Applied, Step::to(undone, postings))
        }
        SponsorshipState::Final(settlement) if settlement.sighting == sighting => {
            set_aside(SetAside::UndoAfterFinal)
        }
        SponsorshipState::Open
        | SponsorshipState::Released
        | SponsorshipState::Provisional(_)
        | SponsorshipState::Final(_) => replayed(),
    }
}

/// Makes a settlement final and returns the rest of what was set aside.
#[must_use]
pub fn finalise(latest: Option<&SponsorshipReservation>, fact: &ChainFact) -> Fact {
    let sighting = fact.event().sighting;
    let Some(reservation) = latest else {
        return set_aside(SetAside::UnknownOperation);
    };
    match reservation.state {
        SponsorshipState::Provisional(settlement) if is_same_log(&settlement, &sighting) => {
            let rest = match settlement.before {
                Unsettled::Open => reservation.reserved.saturating_sub(settlement.from_reserved),
                Unsettled::Released => Points::ZERO,
            };
            let state = SponsorshipState::Final(settlement);
            let finalised = SponsorshipReservation { state, ..reservation.clone() };
            let give_back = Posting::new(Column::Reserved, Column::Available, rest);
            (FactOutcome::Applied, Step::to(finalised, [give_back]))
        }
        SponsorshipState::Final(settlement) if is_same_log(&settlement, &sighting) => replayed(),
        SponsorshipState::Provisional(_) | SponsorshipState::Final(_) => {
            set_aside(SetAside::SettledElsewhere)
        }
        SponsorshipState::Open | SponsorshipState::Released => {
            set_aside(SetAside::FinalBeforeSettled)
        }
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
            if !window::is_past(reservation.last_valid_until(), at) {
                return unchanged(CancelOutcome::NotYet);
            }
            let state = SponsorshipState::Released;
            let released = SponsorshipReservation { state, ..reservation.clone() };
            let give_back = Posting::new(Column::Reserved, Column::Available, reservation.reserved);
            (CancelOutcome::Released, Step::to(released, [give_back]))
        }
    }
}

fn is_same_log(settlement: &Settlement, sighting: &Sighting) -> bool {
    settlement.sighting.block.hash == sighting.block.hash
        && settlement.sighting.log_index == sighting.log_index
}
