//! A key in this process's memory.

use std::fmt;

use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy_primitives::{Address, B256};
use domain::seal::Sealed;

/// The key could not sign. It has no cause that an operator could mend, so it carries none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signer failed to sign")]
pub struct SignError;

/// A secp256k1 key held in memory. Made by [`crate::SignerSource::load`].
pub struct LocalSigner {
    key: PrivateKeySigner,
}

impl LocalSigner {
    pub(crate) const fn new(key: PrivateKeySigner) -> Self {
        Self { key }
    }

    /// The address that the paymaster contract must list among its signers.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.key.address()
    }

    /// Signs a digest as it is, without a prefix: `r ‖ yParityAndS` with the lower of the two possible `s`
    /// ([EIP-2098](https://eips.ethereum.org/EIPS/eip-2098)). The same digest gives the same signature
    /// ([RFC 6979](https://www.rfc-editor.org/rfc/rfc6979)).
    ///
    /// # Errors
    /// [`SignError`] when the curve arithmetic fails, which no digest is known to cause.
    pub fn sign(&self, digest: B256) -> Result<Sealed, SignError> {
        let signature = self.key.sign_hash_sync(&digest).map_err(|_| SignError)?;
        Ok(Sealed::new(signature.as_erc2098()))
    }
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSigner").field("address", &self.address()).finish_non_exhaustive()
    }
}
