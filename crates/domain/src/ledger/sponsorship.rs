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

mod facts;
mod requests;

use alloy_primitives::B256;

use crate::chain_fact::{ChainTime, Sighting};
use crate::{Points, Quote, Wei};

pub use facts::{FactOutcome, SetAside, confirm, finalise, undo};
pub use requests::{
    CancelOutcome, GrantOutcome, GrantRefusal, GrantRequest, MAX_GRANTS, cancel, close, grant,
    refuse_debtor,
};

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
