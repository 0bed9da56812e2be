//! What a use case answers when it does not do what was asked.

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
    /// This process holds no signing key.
    #[error("this process holds no signing key")]
    NoSigner,
    /// The key could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}
