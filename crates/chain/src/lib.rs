//! All outward RPC: a chain's node and its bundlers.
//!
//! [`node::Node`] reads a chain, and sends what an operator signed ([`transactions`]); [`bundler::Bundler`] passes
//! operations on. Both take several URLs and go through
//! them in order, within one deadline for the whole call. The JSON-RPC client beneath is our own and small, because
//! what matters here is what a general one leaves open: an answer of bounded size, errors without URLs (a URL may
//! hold a provider's key), the other side's `code`, `message` and `data` kept as they came, several questions to one
//! endpoint when their answers must agree, and no second delivery of what may have been taken already.
//!
//! What a node says is checked for what it can be checked for here: an answer about another block, another contract
//! or another paymaster is [`RpcError::Malformed`]. Whether the node tells the truth is the ingester's question.
//!
//! **Invariants.** No URL's path, query or user is in an error, a log or a `Debug` text: hosts are named by host and
//! port. No call lasts longer than its deadline. Nothing here knows of points, keys or SQL.

pub mod bundler;
mod error;
mod finality;
pub mod logs;
pub mod node;
mod rpc;
pub mod simulation;
pub mod transactions;

pub use error::{ConnectError, RpcError};
pub use finality::{Agreement, Finality};
