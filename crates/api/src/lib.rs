//! The HTTP door: REST for the company's servers, JSON-RPC for wallets and dApps.
//!
//! [`router`] puts [`service::Service`] behind HTTP. A request passes, from the outside in: the boundary, which names
//! it, logs one line and writes every problem; for `/rpc` the answer to browsers' preflights; a net for panics; the
//! deadline; then its route.
//!
//! | module | what |
//! | --- | --- |
//! | [`router`] · [`settings`] | routes and limits |
//! | [`error`] · [`history`] | every error of the edge, with its code, status and JSON-RPC code |
//! | [`cursor`] | where a page ends |
//! | [`rpc`] | JSON-RPC 2.0: the envelope, [ERC-7677](https://eips.ethereum.org/EIPS/eip-7677), the bundler's methods |
//! | `rest` | accounts, funds, entries, statements, quotes, sponsorships |
//!
//! **Invariants.** Nothing here decides about money: every handler reads a request, calls one use case and writes its
//! answer. No key, body or raw path reaches a log. No internal cause reaches an answer.

mod app;
mod auth;
mod boundary;
mod context;
pub mod cursor;
pub mod error;
mod health;
pub mod history;
mod idempotency;
mod json;
mod problem;
mod rest;
pub mod router;
pub mod rpc;
pub mod settings;
mod wire;

pub use error::ApiError;
pub use history::HistoryRefusal;
pub use router::router;
pub use settings::HttpSettings;
