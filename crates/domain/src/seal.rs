//! A signature that nobody can read before its grant is committed.

use core::fmt;

use alloy_primitives::{Address, B256, B512};
use erc4337::hash::{HashError, user_op_hash};
use erc4337::sponsorship::{PaymasterHeader, SignatureForm};
use erc4337::{EntryPointVersion, UserOperation};

use crate::Slot;

/// A sponsorship signature in its seal. Signing needs a key and time, committing needs the database;
/// the seal lets both be prepared without an instant in which an unbacked signature could escape.
///
/// [`Sealed::open`] is named in `clippy.toml` as disallowed: only `store::sponsorships` may call it,
/// to write the signature inside the grant's own transaction. The rest of the house reads signatures
/// from committed grants.
pub struct Sealed([u8; 64]);

impl Sealed {
    /// Seals a compact signature (`r ‖ yParityAndS`,
    /// [EIP-2098](https://eips.ethereum.org/EIPS/eip-2098)).
    #[must_use]
    pub const fn new(signature: [u8; 64]) -> Self {
        Self(signature)
    }

    /// The hash that the operation has with this signature under `header`: it can be told before the
    /// grant is committed, because it gives nothing of the signature away.
    ///
    /// # Errors
    /// When the operation delegates by EIP-7702 and the delegate is not known.
    pub fn user_op_hash(
        &self,
        operation: &UserOperation,
        header: &PaymasterHeader,
        form: SignatureForm,
        version: EntryPointVersion,
        slot: &Slot,
        delegate: Option<Address>,
    ) -> Result<B256, HashError> {
        let paymaster = Some(header.sign_with(form, B512::from(self.0)));
        let signed = UserOperation { paymaster, ..operation.clone() };
        user_op_hash(&signed, version, slot.entry_point, slot.chain_id.0, delegate)
    }

    /// Takes the signature out. Only the writer of grants may call it.
    #[must_use]
    pub const fn open(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}
