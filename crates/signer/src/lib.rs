//! All keys: what signs a sponsorship, and what signs an operator's transaction.
//!
//! A signer answers one question: a signature over a digest, in a [`domain::seal::Sealed`] that only a committed grant
//! opens. It does not know what the digest stands for; that is computed in `erc4337::sponsorship` and bounded in
//! `service` before it comes here.
//!
//! A [`TransactionSigner`] holds the key of a paymaster's owner or guardian for the time of one command. It is another
//! type than [`LocalSigner`], and neither becomes the other.
//!
//! Where a key comes from is a [`SignerSource`]. A key held by a key-management service will be another source with
//! the same `address` and `sign`.
//!
//! **Invariants.** No key leaves this crate: not through `Debug`, not through `Display`, not through an error. Nothing
//! here logs, reads a clock or the environment, or opens a seal.

mod local;
mod secret;
mod source;
mod transaction;

pub use local::{LocalSigner, SignError};
pub use secret::Secret;
pub use source::{LoadError, SignerSource};
pub use transaction::{SignedTransaction, Transaction, TransactionSigner};
