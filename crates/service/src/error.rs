//! What a use case answers when it does not do what was asked.

use alloy_primitives::Address;
use chain::RpcError;
use signer::SignError;
use store::StoreError;

use crate::Refusal;

/// A use case that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Against the rules, by name; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database; where it is transient, the same request may be repeated.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain's node does not answer as it should.
    #[error("the chain's node failed")]
    Node(#[source] RpcError),
    /// The chain's bundler does not answer as it should.
    #[error("the chain's bundler failed")]
    Bundler(#[source] RpcError),
    /// This process does not hold the key that signs for the paymaster: the one that an operator chose, or
    /// any at all.
    #[error("this process does not hold the signing key {}", chosen(.0.as_ref()))]
    NoSigner(Option<Address>),
    /// The key could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

fn chosen(signer: Option<&Address>) -> String {
    signer.map_or_else(|| "of its paymaster".to_owned(), |signer| format!("of {signer}"))
}
