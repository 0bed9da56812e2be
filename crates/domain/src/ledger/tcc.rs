//! The TCC machine: reservations keyed by biz id, commanded by the company's own services.
//!
//! | state | try | confirm(x) | cancel |
//! | --- | --- | --- | --- |
//! | nothing | open, or rejected (remembered) | `not_found` | released: a tombstone |
//! | open | replay | settled x ≤ reserved, rest returned | released, returned |
//! | settled | replay | same x: replay; other x: conflict | `already_settled` |
//! | released | `cancelled` | `cancelled` | replay |
//! | rejected | replay of the refusal | refused | success, nothing done |

use super::{Balances, Column, Posting, Step};
use crate::Points;

/// Database time, in microseconds since the Unix epoch, read after the account's lock was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbTime(pub i64);

/// What a try asks for; a repeat must ask for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TccTerms {
    /// How many points to set aside.
    pub amount: Points,
    /// When the sweeper may release them; `None` keeps them until they are confirmed or cancelled.
    pub expires_at: Option<DbTime>,
}

/// Where a TCC reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TccState {
    /// The points are set aside.
    Open,
    /// The amount was spent, the rest returned.
    Settled {
        /// What was spent.
        amount: Points,
    },
    /// Cancelled; where the cancel came before the try, a tombstone that keeps the late try out.
    Released,
    /// The try found too few points; remembered, so that a repeat hears the same.
    Rejected {
        /// What was available when it was refused.
        available: Points,
    },
}

/// One TCC reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TccReservation {
    /// What the try asked for; `None` for a tombstone, whose try never came.
    pub terms: Option<TccTerms>,
    /// Where it stands.
    pub state: TccState,
}

/// A command on a biz id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TccCommand {
    /// Set points aside.
    Try {
        /// What for.
        terms: TccTerms,
        /// When the coordinator issued it. An unknown biz id that is older than `oldest` is refused,
        /// because its tombstone may be forgotten by now.
        issued_at: DbTime,
        /// Database time less the retention of biz ids.
        oldest: DbTime,
    },
    /// Spend an amount of what was set aside, and return the rest; `None` spends all of it.
    Confirm {
        /// How much.
        amount: Option<Points>,
    },
    /// Return what was set aside.
    Cancel,
    /// Return what was set aside, if its time is past at `now`.
    Expire {
        /// Database time.
        now: DbTime,
    },
}

/// A TCC command that is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TccRefusal {
    /// A try of more than is available.
    #[error("the account has {available} points available, the try needs {requested}")]
    InsufficientPoints {
        /// What was available at the first try.
        available: Points,
        /// What it asked for.
        requested: Points,
    },
    /// A try of nothing.
    #[error("an amount must be more than 0")]
    ZeroAmount,
    /// A confirm of a biz id that was never tried.
    #[error("nothing was tried under this biz id")]
    NotFound,
    /// A confirm of more than was set aside.
    #[error("{requested} points are more than the {reserved} that were set aside")]
    ExceedsReserved {
        /// What was set aside.
        reserved: Points,
        /// What was to be spent.
        requested: Points,
    },
    /// A cancel after the confirm; nothing is returned.
    #[error("{settled} points are already settled under this biz id")]
    AlreadySettled {
        /// What was spent.
        settled: Points,
    },
    /// A try or confirm after the cancel.
    #[error("this biz id is cancelled")]
    Cancelled,
    /// A confirm of a try that was refused.
    #[error("the try under this biz id was refused")]
    Rejected,
    /// The same biz id with other terms.
    #[error("this biz id was used with another {}", fields.join(" and "))]
    Conflict {
        /// The fields that differ.
        fields: Vec<&'static str>,
    },
    /// A try of an unknown biz id that is older than biz ids are remembered.
    #[error("issuedAt is older than biz ids are remembered")]
    TooOld,
}

/// What became of a TCC command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TccOutcome {
    /// Carried out now.
    Applied,
    /// Carried out before; nothing changed.
    Replayed,
    /// Not carried out. [`TccRefusal::InsufficientPoints`] is remembered, the others change nothing.
    Refused(TccRefusal),
}

type Decision = (TccOutcome, Step<TccReservation>);

fn refuse(refusal: TccRefusal) -> Decision {
    (TccOutcome::Refused(refusal), Step::unchanged())
}

const fn replay() -> Decision {
    (TccOutcome::Replayed, Step::unchanged())
}

/// Decides one command on the reservation that its biz id found.
#[must_use]
pub fn apply(
    balances: &Balances,
    existing: Option<&TccReservation>,
    command: &TccCommand,
) -> Decision {
    match *command {
        TccCommand::Try { terms, issued_at, oldest } => match existing {
            None if terms.amount.is_zero() => refuse(TccRefusal::ZeroAmount),
            None if issued_at < oldest => refuse(TccRefusal::TooOld),
            None => open(balances, terms),
            Some(reservation) => retry(reservation, terms),
        },
        TccCommand::Confirm { amount } => match existing {
            None => refuse(TccRefusal::NotFound),
            Some(reservation) => confirm(reservation, amount),
        },
        TccCommand::Cancel => match existing {
            None => {
                let tombstone = TccReservation { terms: None, state: TccState::Released };
                (TccOutcome::Applied, Step::to(tombstone, []))
            }
            Some(reservation) => cancel(reservation),
        },
        TccCommand::Expire { now } => match existing {
            Some(reservation) if is_expired(reservation, now) => cancel(reservation),
            Some(_) | None => replay(),
        },
    }
}

fn open(balances: &Balances, terms: TccTerms) -> Decision {
    if balances.available < terms.amount {
        let available = balances.available;
        let rejected =
            TccReservation { terms: Some(terms), state: TccState::Rejected { available } };
        let refusal = TccRefusal::InsufficientPoints { available, requested: terms.amount };
        return (TccOutcome::Refused(refusal), Step::to(rejected, []));
    }
    let reservation = TccReservation { terms: Some(terms), state: TccState::Open };
    let posting = Posting::new(Column::Available, Column::Reserved, terms.amount);
    (TccOutcome::Applied, Step::to(reservation, [posting]))
}

fn retry(reservation: &TccReservation, terms: TccTerms) -> Decision {
    // A tombstone has no terms to compare with: it keeps out whatever try comes late.
    let Some(first) = reservation.terms else {
        return refuse(TccRefusal::Cancelled);
    };
    let mut fields = Vec::new();
    if first.amount != terms.amount {
        fields.push("amount");
    }
    if first.expires_at != terms.expires_at {
        fields.push("expiresAt");
    }
    if !fields.is_empty() {
        return refuse(TccRefusal::Conflict { fields });
    }
    match reservation.state {
        TccState::Open | TccState::Settled { .. } => replay(),
        TccState::Released => refuse(TccRefusal::Cancelled),
        TccState::Rejected { available } => {
            refuse(TccRefusal::InsufficientPoints { available, requested: first.amount })
        }
    }
}

fn confirm(reservation: &TccReservation, amount: Option<Points>) -> Decision {
    let reserved = reservation.terms.map_or(Points::ZERO, |terms| terms.amount);
    let requested = amount.unwrap_or(reserved);
    match reservation.state {
        TccState::Open => {
            let Some(rest) = reserved.checked_sub(requested) else {
                return refuse(TccRefusal::ExceedsReserved { reserved, requested });
            };
            let settled =
                TccReservation { state: TccState::Settled { amount: requested }, ..*reservation };
            let spend = Posting::new(Column::Reserved, Column::Spent, requested);
            let give_back = Posting::new(Column::Reserved, Column::Available, rest);
            (TccOutcome::Applied, Step::to(settled, [spend, give_back]))
        }
        TccState::Settled { amount: settled } if settled == requested => replay(),
        TccState::Settled { .. } => refuse(TccRefusal::Conflict { fields: vec!["amount"] }),
        TccState::Released => refuse(TccRefusal::Cancelled),
        TccState::Rejected { .. } => refuse(TccRefusal::Rejected),
    }
}

fn cancel(reservation: &TccReservation) -> Decision {
    match reservation.state {
        TccState::Open => {
            let reserved = reservation.terms.map_or(Points::ZERO, |terms| terms.amount);
            let released = TccReservation { state: TccState::Released, ..*reservation };
            let give_back = Posting::new(Column::Reserved, Column::Available, reserved);
            (TccOutcome::Applied, Step::to(released, [give_back]))
        }
        TccState::Settled { amount: settled } => refuse(TccRefusal::AlreadySettled { settled }),
        TccState::Released | TccState::Rejected { .. } => replay(),
    }
}

fn is_expired(reservation: &TccReservation, now: DbTime) -> bool {
    reservation.state == TccState::Open
        && reservation
            .terms
            .and_then(|terms| terms.expires_at)
            .is_some_and(|expires_at| expires_at <= now)
}
