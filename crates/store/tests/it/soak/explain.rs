//! Whether the answers can be explained: the account's own record gives the order in which things happened, and every
//! answer must be the model's at some place in it between its call and its return.
//!
//! The record names what happened, not who asked for it. Where several calls may have done it, each of them is tried.

use std::collections::HashMap;

use alloy_primitives::B256;
use domain::ReservationId;
use domain::ledger::sponsorship::FactOutcome;
use store::facts::FactStep;
use store::wallets::UnlinkOutcome;

use super::answers::{Names, answer};
use super::model::{Happened, Past, Story};
use super::request::{Call, Claim, Request, Told};
use super::world::Span;

/// A line of an account's record, as the outbox and the journal have it.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) kind: String,
    pub(super) reservation: Option<ReservationId>,
    pub(super) reference: Option<String>,
    /// Of its last entry, or of the last before it.
    pub(super) entry_seq: i64,
    /// Micropoints available, reserved, spent and owed after it.
    pub(super) after: [u64; 4],
}

/// What is known of one account.
pub(super) struct Account<'a> {
    pub(super) record: &'a [Recorded],
    pub(super) calls: &'a [&'a Call],
    /// The biz id or nonce of each reservation.
    pub(super) keys: &'a HashMap<ReservationId, u64>,
    /// Wei and end of window of each grant.
    pub(super) grants: &'a HashMap<(ReservationId, i32), (u64, u64)>,
    pub(super) gone: &'a HashMap<(B256, u32), Span>,
    pub(super) links: &'a [(Span, bool)],
}

/// Who made something happen.
#[derive(Clone, Copy, Debug)]
struct Cause {
    called: u64,
    answered: u64,
    /// The one call that says so, if its answer was heard.
    claimed: Option<usize>,
}

struct Search<'a> {
    account: &'a Account<'a>,
    story: Story,
    causes: Vec<Cause>,
}

/// The list of what happened, if there is one that explains every answer.
pub(super) fn explain(account: &Account<'_>) -> Result<Story, String> {
    let mut search = Search { account, story: Story::new(), causes: Vec::new() };
    search.go_on()?;
    Ok(search.story)
}

impl Search<'_> {
    fn go_on(&mut self) -> Result<(), String> {
        let at = self.story.len();
        if at == self.account.record.len() {
            return self.check_answers();
        }
        let mut first = None;
        for (happened, cause) in self.possible(at) {
            self.story.push(happened);
            self.causes.push(cause);
            match self.go_on() {
                Ok(()) => return Ok(()),
                Err(why) => first = first.or(Some(why)),
            }
            self.story.pop();
            self.causes.pop();
        }
        Err(first.unwrap_or_else(|| {
            format!(
                "nobody can have asked for record {at}: {:?}\n  before it: {:#?}",
                self.account.record[at],
                self.story.now().list
            )
        }))
    }

    /// What may have happened at a place in the record, and why.
    fn possible(&self, at: usize) -> Vec<(Happened, Cause)> {
        let recorded = &self.account.record[at];
        let names = Names { entry_seq: recorded.entry_seq, reservation: recorded.reservation };
        let mut claims = Vec::new();
        let mut others: Vec<(Happened, Cause)> = Vec::new();
        for (index, call) in self.account.calls.iter().enumerate() {
            if self.causes.iter().any(|cause| cause.claimed == Some(index))
                || !self.account.may_happen(call)
            {
                continue;
            }
            let (told, happened) = answer(self.story.now(), &call.request, names);
            let Some(happened) = happened.filter(|it| self.account.is_recorded(recorded, it))
            else {
                continue;
            };
            let Call { called, answered, .. } = **call;
            match call.told.claim() {
                Claim::Happened if call.told == told => {
                    claims.push((happened, Cause { called, answered, claimed: Some(index) }));
                }
                Claim::Either
                    if call.told == told || call.told == Told::Nothing || call.may_repeat =>
                {
                    widen(&mut others, happened, called, answered);
                }
                Claim::NothingHappened if call.may_repeat => {
                    widen(&mut others, happened, called, answered)
                }
                Claim::Happened | Claim::Either | Claim::NothingHappened => {}
            }
        }
        // A balance that the story does not come to is no explanation.
        let fits = |happened: &Happened| {
            let mut story = self.story.clone();
            story.push(happened.clone());
            story.now().balances() == recorded.after
        };
        claims.extend(others);
        claims.retain(|(happened, _)| fits(happened));
        claims
    }

    fn check_answers(&self) -> Result<(), String> {
        let (earliest, latest) = self.times()?;
        let calls = self.account.calls;
        // The place in the list at which each call that changed nothing was answered: the first that is possible, so
        // that time never runs backwards for whoever calls after it.
        let mut read: Vec<(u64, usize)> = Vec::new();
        let mut order: Vec<usize> = (0..calls.len()).collect();
        order.sort_by_key(|index| calls[*index].called);
        for index in order {
            let call = calls[index];
            if call.told == Told::Nothing {
                continue;
            }
            if call.told.claim() == Claim::Happened {
                if self.causes.iter().any(|cause| cause.claimed == Some(index)) {
                    continue;
                }
                return Err(format!(
                    "told, but not recorded: {call:#?}\n  {:#?}",
                    self.story.now().list
                ));
            }
            let seen = read
                .iter()
                .filter(|(answered, _)| *answered <= call.called)
                .map(|(_, place)| *place);
            let from = seen.max().unwrap_or(0);
            let mut places = (from..=self.story.len())
                .filter(|place| earliest[*place] <= call.answered && call.called <= latest[*place]);
            let Some(place) = places.find(|place| self.is_justified(call, *place)) else {
                return Err(format!(
                    "no place explains {call:#?}\n  in {:#?}",
                    self.story.now().list
                ));
            };
            read.push((call.answered, place));
        }
        Ok(())
    }

    /// From when and until when each place of the list may have been the present.
    fn times(&self) -> Result<(Vec<u64>, Vec<u64>), String> {
        let mut earliest = vec![0];
        for cause in &self.causes {
            earliest.push(cause.called.max(*earliest.last().unwrap()));
        }
        let mut latest = vec![u64::MAX];
        for cause in self.causes.iter().rev() {
            latest.push(cause.answered.min(*latest.last().unwrap()));
        }
        latest.reverse();
        for (place, cause) in self.causes.iter().enumerate() {
            if earliest[place] > cause.answered {
                return Err(format!(
                    "record {place} was answered before what precedes it was asked for: {cause:?}"
                ));
            }
        }
        Ok((earliest, latest))
    }

    fn is_justified(&self, call: &Call, place: usize) -> bool {
        let past = self.story.after(place);
        if let Some(verdict) = self.account.keyed(call, self.story.now()) {
            return verdict;
        }
        let is_unlinked = matches!(call.request, Request::Grant { .. });
        if is_unlinked && self.account.was_unlinked(call).is_some_and(|certain| certain) {
            return call.told == Told::WalletMoved;
        }
        match (&call.request, &call.told) {
            (Request::Unlink, Told::Unlinked(outcome)) => {
                self.is_unlink_justified(call, *outcome, past)
            }
            (Request::Grant { .. }, Told::WalletMoved) => self.account.was_unlinked(call).is_some(),
            (
                Request::Fact { step: FactStep::Confirm, sighting, .. },
                Told::Fact(FactOutcome::Replayed),
            ) if self
                .account
                .gone
                .get(&(sighting.block.hash, sighting.visit))
                .is_some_and(|gone| gone.0 <= call.answered) =>
            {
                true
            }
            (request, told) => {
                let entry_seq =
                    place.checked_sub(1).map_or(0, |last| self.account.record[last].entry_seq);
                let (expected, happened) =
                    answer(past, request, Names { entry_seq, reservation: None });
                happened.is_none() && expected == *told
            }
        }
    }

    fn is_unlink_justified(&self, call: &Call, outcome: UnlinkOutcome, past: Past<'_>) -> bool {
        let is_used = (0..super::script::NONCES).any(|nonce| {
            past.is_open(nonce) || (past.standing(nonce).is_some() && !past.is_final(nonce))
        });
        let before = self.account.links.iter().rfind(|(span, _)| span.1 < call.called);
        let was_linked = before.is_none_or(|(_, linked)| *linked);
        match outcome {
            UnlinkOutcome::InUse => is_used,
            UnlinkOutcome::Unlinked => was_linked && !is_used,
            // Where a call may be repeated, it may find its own work.
            UnlinkOutcome::NotLinked => !is_used && (!was_linked || call.may_repeat),
        }
    }
}

/// Adds a call to those that may have made the same happen.
fn widen(others: &mut Vec<(Happened, Cause)>, happened: Happened, called: u64, answered: u64) {
    if let Some((_, cause)) = others.iter_mut().find(|(other, _)| *other == happened) {
        cause.called = cause.called.min(called);
        cause.answered = cause.answered.max(answered);
    } else {
        others.push((happened, Cause { called, answered, claimed: None }));
    }
}

impl Account<'_> {
    /// Whether what is outside the list lets the call change anything.
    fn may_happen(&self, call: &Call) -> bool {
        match &call.request {
            Request::Fact { step: FactStep::Confirm, sighting, .. } => {
                let gone = self.gone.get(&(sighting.block.hash, sighting.visit));
                gone.is_none_or(|(_, over)| call.called <= *over)
            }
            Request::Grant { .. } => self.was_unlinked(call) != Some(true),
            _ => true,
        }
    }

    /// Whether the record says this.
    fn is_recorded(&self, recorded: &Recorded, happened: &Happened) -> bool {
        let key =
            || recorded.reservation.and_then(|reservation| self.keys.get(&reservation)).copied();
        let (kind, is_same) = match happened {
            Happened::Moved { credit, reference, .. } => {
                let kind = if *credit { "account.credited" } else { "account.debited" };
                (kind, recorded.reference.as_ref() == Some(reference))
            }
            Happened::Held { biz, .. } => ("tcc.reserved", key() == Some(*biz)),
            Happened::TurnedAway { biz, .. } => ("tcc.rejected", key() == Some(*biz)),
            Happened::Spent { biz, .. } => ("tcc.settled", key() == Some(*biz)),
            Happened::GivenBack { biz } => ("tcc.released", key() == Some(*biz)),
            Happened::Granted(variant) => {
                let row = self.grants.get(&(variant.reservation, variant.grant_no));
                let is_row = row == Some(&(variant.wei, variant.valid_until));
                let is_same = Some(variant.reservation) == recorded.reservation
                    && key() == Some(variant.nonce);
                ("sponsorship.granted", is_row && is_same)
            }
            Happened::Closed { nonce } => ("sponsorship.closing", key() == Some(*nonce)),
            Happened::Returned { nonce } => ("sponsorship.released", key() == Some(*nonce)),
            Happened::Landed { nonce, .. } | Happened::SeenAgain { nonce, .. } => {
                ("sponsorship.settled", key() == Some(*nonce))
            }
            Happened::Vanished { nonce, .. } => ("sponsorship.undone", key() == Some(*nonce)),
            Happened::BecameFinal { nonce } => ("sponsorship.final", key() == Some(*nonce)),
        };
        kind == recorded.kind && is_same
    }

    /// Whether the wallet was unlinked while the call was under way: `Some(true)` all the time, `Some(false)` perhaps.
    fn was_unlinked(&self, call: &Call) -> Option<bool> {
        let mut found = None;
        for (index, ((begun, over), linked)) in self.links.iter().enumerate() {
            let next = self.links[index + 1..]
                .iter()
                .find(|(_, linked)| *linked)
                .map_or((u64::MAX, u64::MAX), |next| next.0);
            if !linked && *begun <= call.answered && next.1 >= call.called {
                let is_certain =
                    *over <= call.called && next.0 >= call.answered && call.answered < u64::MAX;
                found = Some(is_certain || found == Some(true));
            }
        }
        found
    }

    /// What is due to a grant's key, which the list does not know: `None` where the list decides.
    fn keyed(&self, call: &Call, all: Past<'_>) -> Option<bool> {
        let Request::Grant { nonce, wei, key: Some(key), .. } = &call.request else { return None };
        let same_key = self.calls.iter().filter(|other| match &other.request {
            Request::Grant { key: Some(used), .. } => used == key && !core::ptr::eq(**other, call),
            _ => false,
        });
        let is_same_body = |other: &Call| match &other.request {
            Request::Grant { nonce: slot, wei: cost, .. } => (slot, cost) == (nonce, wei),
            _ => false,
        };
        for other in same_key.clone() {
            if let Told::Granted { reservation, grant_no, .. } = other.told
                && other.answered <= call.called
            {
                let same = Told::Granted { again: true, reservation, grant_no };
                return Some(call.told == if is_same_body(other) { same } else { Told::KeyReused });
            }
        }
        let may_have_used = |other: &Call| {
            other.called <= call.answered
                && matches!(other.told, Told::Granted { .. } | Told::Nothing)
        };
        match call.told {
            Told::KeyReused => {
                Some(same_key.clone().any(|other| !is_same_body(other) && may_have_used(other)))
            }
            Told::Granted { again: true, reservation, grant_no } => {
                let is_signed = all.signed(*nonce).any(|variant| {
                    (variant.reservation, variant.grant_no, variant.wei)
                        == (reservation, grant_no, *wei)
                });
                let by_key = call.may_repeat
                    || same_key.clone().any(|other| is_same_body(other) && may_have_used(other));
                (is_signed && by_key).then_some(true)
            }
            _ => None,
        }
    }
}
