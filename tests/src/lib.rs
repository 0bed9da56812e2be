//! The environment of the end-to-end tests: a running stack, people who use it, and a second opinion on the books.
//!
//! | module | what |
//! | --- | --- |
//! | [`env`] | the installations of a test process, and what a test may do to them |
//! | [`user`] | somebody with a smart account and points, who acts through a real client library |
//! | [`api`] | plain HTTP and JSON-RPC, for what the client libraries do not say |
//! | [`ledger`] | what the database holds, read as the runtime role |
//! | [`owner`] | what only the owner of the database could do |
//! | [`books`] | the ledger held against the chain, to the micropoint and the wei |
//! | [`wait`] | polling with a deadline and a reason |
//!
//! **Invariant:** [`ledger`] and [`books`] know `domain`, `store` and `service` by nothing but the schema and the chain's own words, so that a
//! mistake there is not repeated here.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that cannot do its work must fail the test"
)]

pub mod api;
pub mod books;
pub mod env;
pub mod ledger;
pub mod owner;
pub mod user;
pub mod wait;

pub use env::{
    Env, on_hasty_finality, on_lying_nodes, on_own_stack, on_processes_apart, on_shared_stack,
};
pub use user::{User, Wallet};
