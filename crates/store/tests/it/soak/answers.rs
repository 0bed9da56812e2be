//! What the model answers to a request at some place in an account's list, and what would then have happened.

use domain::Points;
use domain::ReservationId;
use domain::chain_fact::{ChainTime, Sighting};
use domain::ledger::funds::FundsRefusal;
use domain::ledger::sponsorship::{CancelOutcome, FactOutcome, GrantRefusal, SetAside};
use domain::ledger::tcc::{DbTime, TccOutcome, TccRefusal, TccReservation, TccState, TccTerms};
use sqlx::types::Uuid;
use store::facts::FactStep;
use store::sponsorships::CloseOutcome;

use super::model::{Happened, Past, Variant};
use super::request::{Request, Told};
use super::script::LONG_AGO;
use crate::builder::micro;

/// What only the store can name: the last entry of what happened, and its reservation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    pub(super) entry_seq: i64,
    pub(super) reservation: Option<ReservationId>,
}

/// Stands for the reservation of what did not happen.
const NOBODY: ReservationId = ReservationId(Uuid::nil());

type Answer = (Told, Option<Happened>);

/// How much of a window must be left for the same grant to be given again, in seconds.
const REMAINING: u64 = 60;

/// The answer, as far as the account's list decides it. Links, keys of grants and blocks that went away are not in the
/// list; `explain` knows of them.
pub(super) fn answer(past: Past<'_>, request: &Request, names: Names) -> Answer {
    match request {
        Request::Move { credit, amount, reference, key } => {
            movement(past, (*credit, *amount), reference, key, names)
        }
        Request::Try { biz, .. }
        | Request::Confirm { biz, .. }
        | Request::Cancel { biz }
        | Request::Expire { biz } => {
            let (outcome, happened) = tcc(past, *biz, request);
            let told = Told::Tcc(outcome, reservation_after(past, *biz, happened.as_ref()));
            (told, happened)
        }
        Request::Grant { .. } => grant(past, request, names),
        Request::Close { nonce, reservation } => close(past, *nonce, *reservation),
        Request::Fact { step: FactStep::Confirm, nonce, sighting, wei } => {
            confirm(past, *nonce, *sighting, *wei)
        }
        Request::Fact { step: FactStep::Undo, nonce, sighting, .. } => {
            undo(past, *nonce, *sighting)
        }
        Request::Fact { step: FactStep::Finalise, nonce, sighting, .. } => {
            finalise(past, *nonce, *sighting)
        }
        Request::Release { nonce, at } => release(past, *nonce, *at),
        Request::Balances => {
            let (balances, pending) = (past.balances(), past.pending());
            (Told::Balances { balances, pending, entry_seq: names.entry_seq }, None)
        }
        Request::Look { biz } => (Told::Looked(reservation_after(past, *biz, None)), None),
        Request::Unlink => (Told::Nothing, None),
    }
}

fn movement(
    past: Past<'_>,
    (credit, amount): (bool, u64),
    reference: &str,
    key: &str,
    names: Names,
) -> Answer {
    let is_same = |it: &Happened| match it {
        Happened::Moved { credit: direction, amount: moved, reference: name, .. } => {
            (*direction, *moved, name.as_str()) == (credit, amount, reference)
        }
        _ => false,
    };
    if past.moved_by_key(key).is_some_and(|earlier| !is_same(earlier)) {
        return (Told::KeyReused, None);
    }
    if let Some(earlier) = past.moved(reference) {
        let Happened::Moved { credit: direction, amount: moved, seq, .. } = earlier else {
            unreachable!()
        };
        let differing = [("direction", *direction != credit), ("amount", *moved != amount)];
        let fields: Vec<_> =
            differing.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
        if !fields.is_empty() {
            return (Told::Conflict(fields), None);
        }
        // The answer is that of then.
        let then = past.list.iter().position(|it| it == earlier).unwrap();
        let (available, debt) = after_movement(past, then);
        return (Told::Moved { again: true, seq: *seq, available, debt }, None);
    }
    let available = past.available();
    if !credit && amount > available {
        let (available, requested) = (micro(available), micro(amount));
        return (Told::Short(FundsRefusal::InsufficientPoints { available, requested }), None);
    }
    let (reference, key, seq) = (reference.to_owned(), key.to_owned(), names.entry_seq);
    let happened = Happened::Moved { credit, amount, reference, key, seq };
    let repaid = if credit { amount.min(past.debt) } else { 0 };
    let available = if credit { available + amount - repaid } else { available - amount };
    (Told::Moved { again: false, seq, available, debt: past.debt - repaid }, Some(happened))
}

/// Available and owed after the movement at a place in the list.
fn after_movement(past: Past<'_>, at: usize) -> (u64, u64) {
    let mut story = super::model::Story::new();
    past.list[..=at].iter().for_each(|happened| story.push(happened.clone()));
    let [available, _, _, debt] = story.now().balances();
    (available, debt)
}

fn refuse(refusal: TccRefusal) -> (TccOutcome, Option<Happened>) {
    (TccOutcome::Refused(refusal), None)
}

fn tcc(past: Past<'_>, biz: u64, request: &Request) -> (TccOutcome, Option<Happened>) {
    let applied = |happened| (TccOutcome::Applied, Some(happened));
    let is_known = past.terms(biz).is_some() || past.was_given_back(biz);
    match *request {
        Request::Try { amount, expires, too_old, .. } if !is_known => {
            let available = past.available();
            if amount == 0 {
                refuse(TccRefusal::ZeroAmount)
            } else if too_old {
                refuse(TccRefusal::TooOld)
            } else if amount <= available {
                applied(Happened::Held { biz, amount, expires })
            } else {
                (
                    insufficient(available, amount),
                    Some(Happened::TurnedAway { biz, amount, expires, available }),
                )
            }
        }
        Request::Try { amount, expires, .. } => (late_try(past, biz, amount, expires), None),
        Request::Confirm { amount, .. } => confirm_try(past, biz, amount),
        Request::Expire { .. } => {
            if past.holds(biz) && past.terms(biz).unwrap().1 == Some(LONG_AGO) {
                applied(Happened::GivenBack { biz })
            } else {
                (TccOutcome::Replayed, None)
            }
        }
        _ => match past.spent_on(biz) {
            Some(spent) => refuse(TccRefusal::AlreadySettled { settled: micro(spent) }),
            None if past.was_given_back(biz) || past.turned_away_with(biz).is_some() => {
                (TccOutcome::Replayed, None)
            }
            None => applied(Happened::GivenBack { biz }),
        },
    }
}

fn late_try(past: Past<'_>, biz: u64, amount: u64, expires: Option<i64>) -> TccOutcome {
    let Some((first, until)) = past.terms(biz) else {
        return TccOutcome::Refused(TccRefusal::Cancelled);
    };
    let differing = [("amount", first != amount), ("expiresAt", until != expires)];
    let fields: Vec<_> =
        differing.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    if !fields.is_empty() {
        TccOutcome::Refused(TccRefusal::Conflict { fields })
    } else if let Some(available) = past.turned_away_with(biz) {
        insufficient(available, first)
    } else if past.was_given_back(biz) {
        TccOutcome::Refused(TccRefusal::Cancelled)
    } else {
        TccOutcome::Replayed
    }
}

fn confirm_try(past: Past<'_>, biz: u64, amount: Option<u64>) -> (TccOutcome, Option<Happened>) {
    if past.turned_away_with(biz).is_some() {
        return refuse(TccRefusal::Rejected);
    }
    if past.was_given_back(biz) {
        return refuse(TccRefusal::Cancelled);
    }
    let Some((reserved, _)) = past.terms(biz) else { return refuse(TccRefusal::NotFound) };
    let amount = amount.unwrap_or(reserved);
    match past.spent_on(biz) {
        Some(spent) if spent == amount => (TccOutcome::Replayed, None),
        Some(_) => refuse(TccRefusal::Conflict { fields: vec!["amount"] }),
        None if amount > reserved => refuse(TccRefusal::ExceedsReserved {
            reserved: micro(reserved),
            requested: micro(amount),
        }),
        None => (TccOutcome::Applied, Some(Happened::Spent { biz, amount })),
    }
}

fn insufficient(available: u64, requested: u64) -> TccOutcome {
    let (available, requested) = (micro(available), micro(requested));
    TccOutcome::Refused(TccRefusal::InsufficientPoints { available, requested })
}

/// The reservation of a biz id, with what has just happened.
fn reservation_after(
    past: Past<'_>,
    biz: u64,
    happened: Option<&Happened>,
) -> Option<TccReservation> {
    let list: Vec<_> = past.list.iter().chain(happened).cloned().collect();
    let past = Past { list: &list, debt: past.debt };
    let terms = past.terms(biz).map(|(amount, expires)| TccTerms {
        amount: micro(amount),
        expires_at: expires.map(DbTime),
    });
    let state = if let Some(spent) = past.spent_on(biz) {
        TccState::Settled { amount: micro(spent) }
    } else if past.was_given_back(biz) {
        TccState::Released
    } else if let Some(available) = past.turned_away_with(biz) {
        TccState::Rejected { available: micro(available) }
    } else {
        terms.as_ref()?;
        TccState::Open
    };
    Some(TccReservation { terms, state })
}

fn grant(past: Past<'_>, request: &Request, names: Names) -> Answer {
    let Request::Grant { nonce, wei, rate, paymaster, head, valid_until, .. } = *request else {
        unreachable!()
    };
    let refused = |refusal| (Told::NotGranted(refusal), None);
    let variants = past.variants(nonce);
    if past.standing(nonce).is_some() {
        return refused(GrantRefusal::NonceUsed);
    }
    if variants.first().is_some_and(|first| first.paymaster != paymaster) {
        return (Told::PaymasterChanged, None);
    }
    if past.is_closed(nonce) {
        return refused(GrantRefusal::Closing);
    }
    if let Some(same) =
        variants.iter().rev().find(|it| it.wei == wei && it.valid_until >= head + REMAINING)
    {
        return (
            Told::Granted { again: true, reservation: same.reservation, grant_no: same.grant_no },
            None,
        );
    }
    let cost = if variants.is_empty() { wei * rate } else { past.cost(nonce, wei) };
    if variants.is_empty() && past.debt > 0 {
        return refused(GrantRefusal::DebtAboveCeiling {
            debt: micro(past.debt),
            ceiling: Points::ZERO,
        });
    }
    let (needed, available) = (cost.saturating_sub(past.dearest(nonce)), past.available());
    if needed > available {
        let (available, needed) = (micro(available), micro(needed));
        return refused(GrantRefusal::InsufficientPoints { available, needed });
    }
    let reservation =
        variants.first().map(|first| first.reservation).or(names.reservation).unwrap_or(NOBODY);
    let grant_no = i32::try_from(variants.len() + 1).unwrap();
    let variant = Variant { nonce, wei, rate, paymaster, valid_until, reservation, grant_no };
    (Told::Granted { again: false, reservation, grant_no }, Some(Happened::Granted(variant)))
}

fn close(past: Past<'_>, nonce: u64, reservation: ReservationId) -> Answer {
    let told = |outcome, happened| (Told::Closed(outcome), happened);
    let latest = past.signed(nonce).next_back().map(|variant| variant.reservation);
    if latest != Some(reservation) {
        return told(CloseOutcome::Released, None);
    }
    if past.standing(nonce).is_some() {
        return told(CloseOutcome::Settled, None);
    }
    let Some(until) = past.variants(nonce).into_iter().map(|variant| variant.valid_until).max()
    else {
        return told(CloseOutcome::Released, None);
    };
    let happened = (!past.is_closed(nonce)).then_some(Happened::Closed { nonce });
    told(CloseOutcome::Closing(ChainTime(until)), happened)
}

fn is_same_log(one: &Sighting, other: &Sighting) -> bool {
    (one.block, one.log_index) == (other.block, other.log_index)
}

fn confirm(past: Past<'_>, nonce: u64, sighting: Sighting, wei: u64) -> Answer {
    let told = |outcome, happened| (Told::Fact(outcome), happened);
    if past.signed(nonce).next().is_none() {
        return told(FactOutcome::SetAside(SetAside::UnknownOperation), None);
    }
    if past.has_taken(nonce, &sighting) {
        return told(FactOutcome::Replayed, None);
    }
    match past.standing(nonce) {
        Some((standing, _)) if !is_same_log(&standing, &sighting) => {
            told(FactOutcome::SetAside(SetAside::SettledElsewhere), None)
        }
        Some((standing, _)) if standing.visit >= sighting.visit || past.is_final(nonce) => {
            told(FactOutcome::Replayed, None)
        }
        Some(_) => told(FactOutcome::Applied, Some(Happened::SeenAgain { nonce, sighting })),
        None => {
            let (from_available, lent) = past.shortage(nonce, past.cost(nonce, wei));
            let outcome = if from_available + lent == 0 {
                FactOutcome::Applied
            } else {
                FactOutcome::AppliedWithShortage {
                    from_available: micro(from_available),
                    from_debt: micro(lent),
                }
            };
            told(outcome, Some(Happened::Landed { nonce, sighting, wei, lent }))
        }
    }
}

fn undo(past: Past<'_>, nonce: u64, sighting: Sighting) -> Answer {
    let told = |outcome, happened| (Told::Fact(outcome), happened);
    match past.standing(nonce) {
        Some((standing, _)) if standing == sighting && past.is_final(nonce) => {
            told(FactOutcome::SetAside(SetAside::UndoAfterFinal), None)
        }
        Some((standing, _)) if standing == sighting => {
            told(FactOutcome::Applied, Some(Happened::Vanished { nonce, sighting }))
        }
        _ => told(FactOutcome::Replayed, None),
    }
}

fn finalise(past: Past<'_>, nonce: u64, sighting: Sighting) -> Answer {
    let told = |outcome, happened| (Told::Fact(outcome), happened);
    let set_aside = |reason| told(FactOutcome::SetAside(reason), None);
    match past.standing(nonce) {
        _ if past.signed(nonce).next().is_none() => set_aside(SetAside::UnknownOperation),
        None => set_aside(SetAside::FinalBeforeSettled),
        Some((standing, _)) if !is_same_log(&standing, &sighting) => {
            set_aside(SetAside::SettledElsewhere)
        }
        Some(_) if past.is_final(nonce) => told(FactOutcome::Replayed, None),
        Some(_) => told(FactOutcome::Applied, Some(Happened::BecameFinal { nonce })),
    }
}

fn release(past: Past<'_>, nonce: u64, at: u64) -> Answer {
    let told = |outcome, happened| (Told::Released(outcome), happened);
    if past.standing(nonce).is_some() {
        return told(CancelOutcome::AlreadySettled, None);
    }
    match past.variants(nonce).into_iter().map(|variant| variant.valid_until).max() {
        None => told(CancelOutcome::Replayed, None),
        Some(until) if until >= at => told(CancelOutcome::NotYet, None),
        Some(_) => told(CancelOutcome::Released, Some(Happened::Returned { nonce })),
    }
}
