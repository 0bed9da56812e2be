//! Use cases and the workers' loops: where the rules of `domain`, the database, the keys and the
//! chains meet.
//!
//! | module | use case |
//! | --- | --- |
//! | [`identity`] | who asks, and whose points they may reserve |
//! | [`chains`] | the chains, EntryPoints and paymasters that are served |
//! | [`sponsor`] | a signature for an operation, backed by points |
//! | [`signing_phase`] | the same where the account signs first (EntryPoint v0.9) |
//! | [`stub`] | what a client estimates with, before there is a signature |
//! | [`quote`] | what an operation would cost, and whether it would be sponsored |
//! | [`relay`] | the pass-through to the chain's bundler |
//! | [`bulk`] | many credits at once |
//! | [`ingest`] · [`apply`] · [`release`] | the chain's word, read, applied, and waited for |
//! | [`mend`] | what an operator does about a chain that is halted |
//! | [`expire`] | what the company's services reserved and nobody confirmed in time |
//! | [`expire_points`] · [`lot`] | points whose time is past; which points a credit is of |
//! | [`anchor`] | the journal as one hash a day, kept outside the database |
//! | [`maintain`] | months ahead, closed reservations to the archive, old months to files |
//! | [`statement`] | what a statement reads |
//! | [`worker`] | the loops around those seven |
//! | [`refusal`] | every reason not to sponsor, by name |
//!
//! **Invariant:** no use case moves points but through one command of `store`; the wall clock is read
//! in one place, and only to refuse.

pub mod anchor;
pub mod apply;
pub mod bulk;
pub mod chains;
mod clock;
pub mod expire;
pub mod expire_points;
pub mod identity;
pub mod ingest;
pub mod lot;
pub mod maintain;
pub mod mend;
pub mod quote;
pub mod refusal;
pub mod relay;
pub mod release;
pub mod signing_phase;
pub mod sponsor;
pub mod statement;
pub mod stub;
pub mod worker;

mod assess;
mod causes;
mod error;

use std::collections::BTreeMap;

use domain::bounds::Bounds;
use domain::quote::Bps;
use domain::{ChainId, Points};
use store::Store;

pub use causes::Causes;
pub use error::ServiceError;
pub use refusal::Refusal;

use crate::chains::Chain;

/// The price of a chain's gas: a fixed rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedPrice {
    /// Micropoints per 10¹⁸ wei, at least 1.
    pub micropoints_per_e18_wei: u64,
    /// What the company adds.
    pub markup: Bps,
}

/// What the use cases may assume, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a signature is valid, in seconds of chain time.
    pub validity_seconds: u32,
    /// How far the head may lag the wall clock before signing stops, in seconds.
    pub stale_head_seconds: u64,
    /// The most that a user may owe and still open a sponsorship.
    pub debt_ceiling: Points,
    /// What an honest operation can cost.
    pub bounds: Bounds,
    /// What only a developer's machine may do; `None` in production.
    pub development: Option<Development>,
}

/// What only a developer's machine may do. With it, a publishable key that was made for that may
/// reserve any account's points; without it, such a key is like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Development {
    /// An account with this many points for every wallet that nobody linked.
    pub auto_provision: Option<Points>,
}

/// Stipend's use cases. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Service {
    store: Store,
    chains: BTreeMap<ChainId, Chain>,
    settings: Settings,
}

impl Service {
    /// Puts the parts together.
    #[must_use]
    pub fn new(store: Store, chains: Vec<Chain>, settings: Settings) -> Self {
        let chains = chains.into_iter().map(|chain| (chain.id, chain)).collect();
        Self { store, chains, settings }
    }

    /// The database.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }
}
