//! Confirm, undo, finalise: the commands of the chain. A fact is never refused; what cannot be
//! applied is set aside with its reason.

use super::{Settlement, SponsorshipReservation, SponsorshipState, Unsettled};
use crate::Points;
use crate::chain_fact::{ChainFact, Sighting};
use crate::ledger::{Balances, Column, Posting, Step};

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

fn is_same_log(settlement: &Settlement, sighting: &Sighting) -> bool {
    settlement.sighting.block.hash == sighting.block.hash
        && settlement.sighting.log_index == sighting.log_index
}
