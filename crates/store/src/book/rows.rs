//! What a batch writes, beside the journal and the outbox.

use std::collections::HashMap;

use alloy_primitives::{Address, B256};
use domain::chain_fact::OperationEvent;
use domain::ids::{BizId, CommandKey, Reference};
use domain::ledger::buckets::Lot;
use domain::ledger::sponsorship::SponsorshipReservation;
use domain::ledger::tcc::{DbTime, TccReservation};
use domain::{AppId, Points, ReservationId, Slot};

use super::{LogKey, Owner};
use crate::command_keys::KeyTarget;
use crate::facts::FactStep;
use crate::grants::CommittedGrant;

/// A first attempt on a slot, or the next after a release.
#[derive(Clone, Debug)]
pub(crate) struct NewSponsorship {
    pub(crate) owner: Owner,
    pub(crate) id: ReservationId,
    pub(crate) app: AppId,
    pub(crate) slot: Slot,
    pub(crate) paymaster: Address,
    pub(crate) reservation: SponsorshipReservation,
    pub(crate) now: DbTime,
}

/// A reservation under a biz id.
#[derive(Clone, Debug)]
pub(crate) struct NewTcc {
    pub(crate) owner: Owner,
    pub(crate) id: ReservationId,
    pub(crate) biz_id: BizId,
    pub(crate) reservation: TccReservation,
    pub(crate) now: DbTime,
}

/// A sponsorship as the batch leaves it.
#[derive(Clone, Debug)]
pub(super) struct ChangedSponsorship {
    pub(super) owner: Owner,
    /// Its state before the batch.
    pub(super) from: &'static str,
    pub(super) reservation: SponsorshipReservation,
    /// What settled it.
    pub(super) event: Option<OperationEvent>,
    pub(super) now: DbTime,
}

/// A reservation under a biz id as the batch leaves it.
#[derive(Clone, Debug)]
pub(super) struct ChangedTcc {
    pub(super) owner: Owner,
    /// Its state before the batch.
    pub(super) from: &'static str,
    pub(super) reservation: TccReservation,
    pub(super) now: DbTime,
}

/// A grant, with the signature that only its commit lets out.
#[derive(Clone, Debug)]
pub(crate) struct NewGrant {
    pub(crate) owner: Owner,
    pub(crate) request_hash: B256,
    pub(crate) grant: CommittedGrant,
    pub(crate) now: DbTime,
}

/// What a key was used for.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub(crate) owner: Owner,
    pub(crate) key: CommandKey,
    pub(crate) request_hash: B256,
    pub(crate) target: KeyTarget,
    pub(crate) now: DbTime,
}

/// A credit or debit under its reference.
#[derive(Clone, Debug)]
pub(crate) struct NewMovement {
    pub(crate) owner: Owner,
    pub(crate) reference: Reference,
    pub(crate) kind: &'static str,
    pub(crate) amount: Points,
    pub(crate) reason: String,
    pub(crate) entry_seq: i64,
    pub(crate) available_after: Points,
    pub(crate) debt_after: Points,
    /// Which points a credit named.
    pub(crate) lot: Option<Lot>,
    pub(crate) now: DbTime,
}

/// A step of a log that was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewMark {
    pub(crate) owner: Owner,
    pub(crate) log: LogKey,
    pub(crate) step: FactStep,
    pub(crate) now: DbTime,
}

/// Everything to be inserted or changed.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) sponsorships: Vec<NewSponsorship>,
    pub(crate) tccs: Vec<NewTcc>,
    pub(crate) grants: Vec<NewGrant>,
    pub(crate) keys: Vec<NewKey>,
    pub(crate) movements: Vec<NewMovement>,
    pub(crate) marks: Vec<NewMark>,
    pub(super) changed_sponsorships: HashMap<ReservationId, ChangedSponsorship>,
    pub(super) changed_tccs: HashMap<ReservationId, ChangedTcc>,
}

impl Rows {
    pub(super) fn is_empty(&self) -> bool {
        let Self { sponsorships, tccs, grants, keys, movements, marks, .. } = self;
        sponsorships.is_empty()
            && tccs.is_empty()
            && grants.is_empty()
            && keys.is_empty()
            && movements.is_empty()
            && marks.is_empty()
            && self.changed_sponsorships.is_empty()
            && self.changed_tccs.is_empty()
    }

    /// Replaces what is to be written of a sponsorship; `before` is as the batch found it.
    pub(crate) fn change_sponsorship(
        &mut self,
        owner: Owner,
        id: ReservationId,
        before: &SponsorshipReservation,
        after: &SponsorshipReservation,
        event: Option<&OperationEvent>,
        now: DbTime,
    ) {
        let from = self
            .changed_sponsorships
            .get(&id)
            .map_or_else(|| crate::reservations::state_name(&before.state), |changed| changed.from);
        let (reservation, event) = (after.clone(), event.copied());
        let changed = ChangedSponsorship { owner, from, reservation, event, now };
        self.changed_sponsorships.insert(id, changed);
    }

    /// The same for a reservation under a biz id.
    pub(crate) fn change_tcc(
        &mut self,
        owner: Owner,
        id: ReservationId,
        before: &TccReservation,
        after: &TccReservation,
        now: DbTime,
    ) {
        let from = self
            .changed_tccs
            .get(&id)
            .map_or_else(|| crate::tcc::state_name(before), |changed| changed.from);
        self.changed_tccs.insert(id, ChangedTcc { owner, from, reservation: *after, now });
    }
}
