//! The rows of one batch of commands, in memory: what was loaded, what the commands decided on it, and what is to be
//! written.
//!
//! Commands of a batch are decided in the order of their arrival, each on what the earlier ones left, by the pure
//! machines of `domain::ledger`. Nothing here decides; it only keeps every row that a decision reads or changes, so that
//! a batch loads and writes each kind of row with one statement.

mod alone;
mod archived;
mod attempts;
mod load;
mod lots;
mod needs;
mod pages;
mod rows;
mod save;
mod save_rows;

use std::collections::{HashMap, HashSet};

use alloy_primitives::{Address, B256};
use domain::chain_fact::OperationEvent;
use domain::ids::{BizId, CommandKey, Reference};
use domain::ledger::journal::{self, Entry, EntryKind, Head, Incarnation, Line};
use domain::ledger::sponsorship::SponsorshipReservation;
use domain::ledger::tcc::{DbTime, TccReservation};
use domain::ledger::{Balances, Posting};
use domain::{AccountId, ChainId, ReservationId, Slot, TenantId};

use crate::StoreError;
use crate::command_keys::UsedKey;
use crate::facts::FactStep;
use crate::funds::Movement;
use crate::grants::CommittedGrant;
use crate::wallets::Wallet;

pub(crate) use lots::{Purse, lot, refund_rule};
pub(crate) use needs::Needs;
pub(crate) use pages::Patience;
pub(crate) use rows::{NewGrant, NewKey, NewMark, NewMovement, NewSponsorship, NewTcc, Rows};

/// Whose row the commands of an account take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The company.
    pub tenant: TenantId,
    /// The user's account.
    pub account: AccountId,
}

/// One log of one ingestion of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogKey {
    pub(crate) chain: ChainId,
    pub(crate) block_hash: B256,
    pub(crate) log_index: u32,
    pub(crate) visit: u32,
}

impl LogKey {
    pub(crate) const fn of(event: &OperationEvent) -> Self {
        let sighting = event.sighting;
        Self {
            chain: event.slot.chain_id,
            block_hash: sighting.block.hash,
            log_index: sighting.log_index,
            visit: sighting.visit,
        }
    }
}

/// The latest attempt on a slot.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) id: ReservationId,
    pub(crate) paymaster: Address,
    pub(crate) reservation: SponsorshipReservation,
    /// The grants with their signatures, in the order of the reservation's.
    pub(crate) grants: Vec<CommittedGrant>,
}

/// What was set aside under a biz id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tried {
    pub(crate) id: ReservationId,
    pub(crate) reservation: TccReservation,
}

/// One account, locked by this batch.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Database time, read after the lock and never before the account's last.
    pub(crate) now: DbTime,
    head: Head,
    event_seq: i64,
    incarnation: Incarnation,
    /// The number of the youngest lot as it was loaded; 0 where the account has none.
    lot_seq: i32,
    /// Sequences of the last entry and the last event as they were loaded.
    loaded: (i64, i64),
}

impl Page {
    /// The balances, with what the batch has recorded so far.
    pub(crate) const fn balances(&self) -> &Balances {
        &self.head.balances
    }

    /// Sequence of the last entry, with what the batch has recorded so far.
    pub(crate) const fn entry_seq(&self) -> i64 {
        self.head.seq
    }

    fn line(&self, record: &Record<'_>) -> Line {
        Line {
            kind: record.kind,
            reservation: record.reservation,
            reference: record.reference.map(|reference| reference.as_str().to_owned()),
            incarnation: self.incarnation,
            recorded_at: self.now,
        }
    }

    /// The next event, of what was just appended.
    const fn event(&mut self, owner: Owner, record: &Record<'_>) -> Event {
        self.event_seq = self.event_seq.saturating_add(1);
        Event {
            owner,
            seq: self.event_seq,
            kind: record.event,
            reservation: record.reservation,
            entry_seq: self.head.seq,
            incarnation: self.incarnation,
            recorded_at: self.now,
        }
    }

    const fn is_changed(&self) -> bool {
        self.head.seq != self.loaded.0 || self.event_seq != self.loaded.1
    }
}

/// What a command appends to its account's journal and outbox.
pub(crate) struct Record<'a> {
    pub(crate) kind: EntryKind,
    pub(crate) postings: &'a [Posting],
    pub(crate) reservation: Option<ReservationId>,
    /// The company's own name of it.
    pub(crate) reference: Option<&'a Reference>,
    pub(crate) event: &'static str,
}

/// An event for the outbox.
#[derive(Clone, Debug)]
struct Event {
    owner: Owner,
    seq: i64,
    kind: &'static str,
    reservation: Option<ReservationId>,
    entry_seq: i64,
    incarnation: Incarnation,
    recorded_at: DbTime,
}

/// Everything that one batch reads and writes.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pages: HashMap<Owner, Page>,
    pub(crate) attempts: HashMap<(Owner, Slot), Attempt>,
    /// Slots without an attempt here, whose final one is in the archive.
    pub(crate) closed_slots: HashSet<(Owner, Slot)>,
    pub(crate) tried: HashMap<(Owner, BizId), Tried>,
    pub(crate) keys: HashMap<(Owner, CommandKey), UsedKey>,
    /// The grants that keys of this batch name.
    pub(crate) keyed_grants: HashMap<(ReservationId, i32), CommittedGrant>,
    pub(crate) movements: HashMap<(Owner, Reference), Movement>,
    pub(crate) links: HashSet<(Owner, Wallet)>,
    pub(crate) marks: HashSet<(Owner, LogKey, FactStep)>,
    /// The logs whose blocks are on the chain.
    pub(crate) canonical: HashSet<LogKey>,
    pub(crate) rows: Rows,
    /// Of the accounts that have lots.
    purses: HashMap<Owner, Purse>,
    entries: Vec<(Owner, Entry)>,
    events: Vec<Event>,
}

impl Book {
    /// An account; `None` where there is none.
    pub(crate) fn page(&self, owner: Owner) -> Option<&Page> {
        self.pages.get(&owner)
    }

    /// Appends to an account's journal and outbox, behind what the batch appended before.
    pub(crate) fn record(&mut self, owner: Owner, record: &Record<'_>) -> Result<(), StoreError> {
        if self.purses.contains_key(&owner) {
            return self.record_in_lots(owner, record, None);
        }
        let page = self.pages.get_mut(&owner).ok_or(StoreError::Corrupt("no such account"))?;
        let line = page.line(record);
        let entries = journal::append(&mut page.head, &line, record.postings)?;
        self.events.push(page.event(owner, record));
        self.entries.extend(entries.into_iter().map(|entry| (owner, entry)));
        Ok(())
    }

    /// Puts the latest attempt on a slot into another state; `event` is what settled it.
    pub(crate) fn change_attempt(
        &mut self,
        owner: Owner,
        slot: Slot,
        after: SponsorshipReservation,
        event: Option<&OperationEvent>,
    ) -> Result<(), StoreError> {
        let page = self.pages.get(&owner).ok_or(StoreError::Corrupt("no such account"))?;
        let attempt = self.attempts.get_mut(&(owner, slot));
        let attempt = attempt.ok_or(StoreError::Corrupt("no such attempt"))?;
        let before = &attempt.reservation;
        self.rows.change_sponsorship(owner, attempt.id, before, &after, event, page.now);
        attempt.reservation = after;
        Ok(())
    }

    /// Whether the batch changes anything.
    fn is_changed(&self) -> bool {
        self.pages.values().any(Page::is_changed)
            || !self.rows.is_empty()
            || self.purses.values().any(Purse::is_changed)
    }
}
