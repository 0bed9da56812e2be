//! Facts about the store, on a real PostgreSQL and as the runtime role. One wei costs one micropoint,
//! so that costs and points can be read off each other.
//!
//! Every test ends with [`Company::finish`], which recomputes the books from the rows.
#![cfg(test)]

mod builder;
mod catalogue;
mod chain;
mod cursor;
mod funds;
mod invariants;
mod locks;
mod releases;
mod settlement;
mod settlement_races;
mod sponsorships;
mod tcc;
mod tcc_races;
mod unknown_commit;

use builder::Company;
