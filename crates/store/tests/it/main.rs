//! Facts about the store, on a real PostgreSQL and as the runtime role. One wei costs one micropoint,
//! so that costs and points can be read off each other.
//!
//! Every test ends with [`Company::finish`], which recomputes the books from the rows.
#![cfg(test)]

mod archive;
mod buckets;
mod builder;
mod bulk;
mod catalogue;
mod chain;
mod cursor;
mod debt;
mod expiry;
mod funds;
mod growth;
mod history;
mod invariants;
mod locks;
mod mend;
mod races;
mod releases;
mod settlement;
mod settlement_races;
mod silence;
mod slots;
mod soak;
mod sponsorships;
mod tcc;
mod tcc_races;
mod unknown_commit;
mod verify;
mod wire;
mod writer;

use builder::Company;
