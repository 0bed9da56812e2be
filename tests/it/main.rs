//! A user's points pay for real operations: real clients, bundler, chain and database.

#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work must fail the test")]

mod books;
mod cancel;
mod crash;
mod identical;
mod matrix;
mod operations;
mod readme;
mod refusals;
mod reorg;
mod rest;
mod wire;
