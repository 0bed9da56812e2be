//! The operation a user asks for, in the shape that RPC clients use since EntryPoint v0.7.

use alloy_eip7702::Authorization;
use alloy_primitives::{Address, Bytes, Signature, U256, address};

/// The `factory` that says "this account is an EIP-7702 delegation", padded to an address
/// ([ERC-4337](https://eips.ethereum.org/EIPS/eip-4337#support-for-eip-7702-authorizations)).
pub const EIP7702_MARKER: Address = address!("7702000000000000000000000000000000000000");

/// The prefix of the code of an account that delegates, before the 20 bytes of the delegate
/// ([EIP-7702](https://eips.ethereum.org/EIPS/eip-7702#delegation-designation)).
pub const DELEGATION_PREFIX: [u8; 3] = [0xef, 0x01, 0x00];

/// An ERC-4337 UserOperation for EntryPoint v0.7 and later
/// ([ERC-7769](https://eips.ethereum.org/EIPS/eip-7769) names the fields).
///
/// Gas is in gas units and fees in wei per gas. The widths are those of the packed form: a limit that the wire could
/// not pack is refused where it is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserOperation {
    /// The smart account that acts.
    pub sender: Address,
    /// The key (upper 192 bits) and the sequence (lower 64 bits).
    pub nonce: U256,
    /// How the account comes to be; `None` when it exists already.
    pub factory: Option<Factory>,
    /// What the account is called with.
    pub call_data: Bytes,
    /// Gas for the call itself.
    pub call_gas_limit: u128,
    /// Gas for the account's validation, its deployment included.
    pub verification_gas_limit: u128,
    /// Gas that the bundler is paid for what the EntryPoint cannot measure.
    pub pre_verification_gas: U256,
    /// The most that is paid per gas, in wei.
    pub max_fee_per_gas: u128,
    /// The most that is paid per gas above the base fee, in wei.
    pub max_priority_fee_per_gas: u128,
    /// Who pays, and how; `None` when the account pays for itself.
    pub paymaster: Option<PaymasterFields>,
    /// The account's signature; a dummy of the right length until the user has signed.
    pub signature: Bytes,
    /// The authorisation that the bundler puts in the transaction, when it has to set the delegate first.
    pub eip7702_auth: Option<Eip7702Auth>,
}

/// How the sender's code comes to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Factory {
    /// A factory contract deploys it. The address is never [`EIP7702_MARKER`], which would mean the other variant.
    Deploy {
        /// The contract that is called.
        factory: Address,
        /// What it is called with.
        data: Bytes,
    },
    /// The account delegates by EIP-7702.
    Eip7702 {
        /// What the account is called with once it delegates; empty for none.
        init_data: Bytes,
    },
}

/// The paymaster's part of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PaymasterFields {
    /// The contract that pays.
    pub paymaster: Address,
    /// Gas for its validation.
    pub verification_gas_limit: u128,
    /// Gas for its call after the operation.
    pub post_op_gas_limit: u128,
    /// What follows in `paymasterAndData`, with the paymaster signature of v0.9 at its end where there is one.
    pub data: Bytes,
}

/// How a bundler takes the paymaster signature of EntryPoint v0.9. There is no standard for it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymasterSignatureField {
    /// At the end of `paymasterData`, as on chain: `signature ‖ uint16 length ‖ magic`.
    Inline,
    /// In a field `paymasterSignature` of its own; the bundler adds length and magic.
    Apart,
}

/// An EIP-7702 authorisation as clients send it
/// ([EIP-7702](https://eips.ethereum.org/EIPS/eip-7702#set-code-transaction)).
///
/// The signature is a dummy until the user signs, so nothing here is verified: it is carried to the bundler as it came.
/// [`Eip7702Auth::authority`] says who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Eip7702Auth {
    /// The delegate.
    pub address: Address,
    /// The chain it is for; zero means any.
    pub chain_id: U256,
    /// The nonce of the authorising account.
    pub nonce: u64,
    /// The signature's `r`, unverified.
    pub r: U256,
    /// The signature's `s`, unverified.
    pub s: U256,
    /// The signature's parity, unverified; zero when the client sent none.
    pub y_parity: U256,
}

impl Eip7702Auth {
    /// Whose key signed the authorisation; `None` when nobody's can have.
    #[must_use]
    pub fn authority(&self) -> Option<Address> {
        let Self { address, chain_id, nonce, r, s, y_parity } = *self;
        let is_odd = match y_parity.try_into() {
            Ok(0_u8) => false,
            Ok(1) => true,
            Ok(_) | Err(_) => return None,
        };
        let hash = Authorization { chain_id, address, nonce }.signature_hash();
        let signature = Signature::new(r, s, is_odd);
        // A high s is refused by the chain as well.
        if signature.normalize_s().is_some() {
            return None;
        }
        signature.recover_address_from_prehash(&hash).ok()
    }
}

impl UserOperation {
    /// Whether the operation carries the EIP-7702 marker, and its delegate is thus part of what is hashed.
    #[must_use]
    pub const fn has_eip7702_marker(&self) -> bool {
        matches!(self.factory, Some(Factory::Eip7702 { .. }))
    }

    /// Whether call, verification and pre-verification gas are all zero: the limits are still to be estimated.
    #[must_use]
    pub fn has_no_gas_limits(&self) -> bool {
        self.call_gas_limit == 0
            && self.verification_gas_limit == 0
            && self.pre_verification_gas.is_zero()
    }

    /// The delegate that the sender will have when the operation runs: the one it is about to authorise, or else
    /// `current`, the one its code designates now (see [`delegate_of_code`]).
    #[must_use]
    pub fn effective_delegate(&self, current: Option<Address>) -> Option<Address> {
        self.eip7702_auth.as_ref().map(|auth| auth.address).or(current)
    }
}

/// The delegate that an account's code designates; `None` when the code is not an EIP-7702 designation.
#[must_use]
pub fn delegate_of_code(code: &[u8]) -> Option<Address> {
    let delegate = code.strip_prefix(&DELEGATION_PREFIX)?;
    <[u8; 20]>::try_from(delegate).ok().map(Address::from)
}
