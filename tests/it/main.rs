//! A user's points pay for real operations: real clients, bundler, chain and database.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that cannot do its work must fail the test"
)]

mod applications;
mod books;
mod bulk;
mod cancel;
mod configuration;
mod contention;
mod crash;
mod defects;
mod delegates;
mod digest_fuzz;
mod erc7562;
mod identical;
mod matrix;
mod nodes;
mod operations;
mod operator;
mod padding;
mod paymaster_admin;
mod paymaster_pending;
mod processes;
mod readme;
mod refusals;
mod reorg;
mod rest;
mod rivals;
mod rotation;
mod runbooks;
mod signing_phase;
mod tcc;
mod wire;
