//! What Stipend's paymaster signs, and the bytes in which the signature travels.
//!
//! ```text
//! paymasterAndData  128 bytes  paymaster(20) ‖ verification gas(16) ‖ postOp gas(16) ‖ validAfter(6) ‖ validUntil(6) ‖ signature(64)
//! header             64 bytes  everything but the signature
//! paymasterData      76 bytes  validAfter(6) ‖ validUntil(6) ‖ signature(64)
//! ```
//! The signature is compact ([EIP-2098](https://eips.ethereum.org/EIPS/eip-2098)) and covers every field of the
//! operation but the account's signature, the chain, the EntryPoint and the header, by
//! [EIP-712](https://eips.ethereum.org/EIPS/eip-712). The contract computes the same digest, and one file of vectors
//! holds both to it.

use alloy_primitives::{Address, B256, B512, Bytes, Signature, U256, b512};
use alloy_sol_types::{Eip712Domain, SolStruct, sol};

use crate::hash::{HashError, signed_init_code};
use crate::user_operation::{PaymasterFields, UserOperation};

/// The length of `paymasterData` in bytes: the window and the signature.
pub const PAYMASTER_DATA_LEN: usize = 76;

/// The length of the signed part of `paymasterAndData` in bytes.
pub const HEADER_LEN: usize = 64;

/// Times from here on are never signed: EntryPoint v0.9 reads a window as block numbers when both its ends lie above.
pub const TIME_LIMIT: u64 = 1 << 47;

/// What [`stub_paymaster_data`] holds in place of a signature: the signature of a well-known test key over a fixed
/// text, chosen so that no byte is zero. A test makes it again.
const STUB_SIGNATURE: B512 = b512!(
    "74067f32bdd6b853674483d6adde179341c74382055233d2e31b188523b82ccb6c5a6777e00a0d4aa98a36d1868158430369d45125bafedc318ac5600a2c1414"
);

/// Its last four bytes are not zero, like those of any time between 1970-07 and 2106, and it is past on every chain.
const STUB_VALID_AFTER: u64 = 0x0101_0101;

/// The last time below [`TIME_LIMIT`]: six bytes, none of them zero.
const STUB_VALID_UNTIL: u64 = TIME_LIMIT - 1;

sol! {
    /// The typed data of a sponsorship.
    struct Sponsorship {
        address entryPoint;
        address sender;
        uint256 nonce;
        bytes initCode;
        bytes callData;
        bytes32 accountGasLimits;
        uint256 preVerificationGas;
        bytes32 gasFees;
        bytes paymasterHeader;
    }
}

/// When an operation may land, in seconds of block time: after `valid_after`, and up to and including `valid_until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValidityWindow {
    valid_after: u64,
    valid_until: u64,
}

/// Why a window is not one that Stipend signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Zero would mean that the operation is valid for ever.
    #[error("validUntil is 0, which means for ever")]
    Unbounded,
    /// The window holds no time at all.
    #[error("validUntil is not after validAfter")]
    Empty,
    /// The time is at or above [`TIME_LIMIT`].
    #[error("validUntil is 2^47 or more, which can mean a block number")]
    TooLate,
}

impl ValidityWindow {
    /// A window that may be signed.
    ///
    /// # Errors
    /// [`WindowError`] when it is without end, empty, or beyond [`TIME_LIMIT`].
    pub const fn new(valid_after: u64, valid_until: u64) -> Result<Self, WindowError> {
        if valid_until == 0 {
            return Err(WindowError::Unbounded);
        }
        if valid_until >= TIME_LIMIT {
            return Err(WindowError::TooLate);
        }
        if valid_after >= valid_until {
            return Err(WindowError::Empty);
        }
        Ok(Self { valid_after, valid_until })
    }

    /// The time after which the operation may land, in seconds. v0.7 lets it land at this very time as well.
    #[must_use]
    pub const fn valid_after(self) -> u64 {
        self.valid_after
    }

    /// The last time at which the operation may land, in seconds.
    #[must_use]
    pub const fn valid_until(self) -> u64 {
        self.valid_until
    }

    /// validAfter(6) ‖ validUntil(6). Both are below 2^47, so their upper two bytes are zero and nothing is cut off.
    fn to_bytes(self) -> [u8; 12] {
        let both = u128::from(self.valid_after) << 48 | u128::from(self.valid_until);
        let [_, _, _, _, bytes @ ..] = both.to_be_bytes();
        bytes
    }

    fn from_bytes(bytes: [u8; 12]) -> Result<Self, WindowError> {
        let [a0, a1, a2, a3, a4, a5, u0, u1, u2, u3, u4, u5] = bytes;
        Self::new(
            u64::from_be_bytes([0, 0, a0, a1, a2, a3, a4, a5]),
            u64::from_be_bytes([0, 0, u0, u1, u2, u3, u4, u5]),
        )
    }
}

/// The signed part of `paymasterAndData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaymasterHeader {
    /// The contract that pays.
    pub paymaster: Address,
    /// Gas for its validation.
    pub verification_gas_limit: u128,
    /// Gas for its call after the operation.
    pub post_op_gas_limit: u128,
    /// When the operation may land.
    pub window: ValidityWindow,
}

impl PaymasterHeader {
    /// The first 64 bytes of `paymasterAndData`.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        [
            self.paymaster.as_slice(),
            &self.verification_gas_limit.to_be_bytes(),
            &self.post_op_gas_limit.to_be_bytes(),
            &self.window.to_bytes(),
        ]
        .concat()
        .into()
    }

    /// The paymaster's part of the operation, signed.
    #[must_use]
    pub fn sign_with(&self, signature: B512) -> PaymasterFields {
        PaymasterFields {
            paymaster: self.paymaster,
            verification_gas_limit: self.verification_gas_limit,
            post_op_gas_limit: self.post_op_gas_limit,
            data: PaymasterData { window: self.window, signature }.encode(),
        }
    }

    /// The header of an operation that carries our paymaster data.
    ///
    /// # Errors
    /// [`PaymasterDataError`] when the data is not ours.
    pub fn of(fields: &PaymasterFields) -> Result<Self, PaymasterDataError> {
        Ok(Self {
            paymaster: fields.paymaster,
            verification_gas_limit: fields.verification_gas_limit,
            post_op_gas_limit: fields.post_op_gas_limit,
            window: PaymasterData::decode(&fields.data)?.window,
        })
    }
}

/// What an [ERC-7677](https://eips.ethereum.org/EIPS/eip-7677) answer calls `paymasterData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaymasterData {
    /// When the operation may land.
    pub window: ValidityWindow,
    /// The compact signature over the digest.
    pub signature: B512,
}

/// Why bytes are not our `paymasterData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaymasterDataError {
    /// It has another length, given in bytes.
    #[error("paymasterData holds {0} bytes instead of 76")]
    Length(usize),
    /// Its window is not one that we sign.
    #[error(transparent)]
    Window(#[from] WindowError),
}

impl PaymasterData {
    /// The 76 bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        [&self.window.to_bytes(), self.signature.as_slice()].concat().into()
    }

    /// Reads the 76 bytes. The signature is not checked; see [`recover_signer`].
    ///
    /// # Errors
    /// [`PaymasterDataError`] for another length or a window that we never sign.
    pub fn decode(bytes: &[u8]) -> Result<Self, PaymasterDataError> {
        let length = PaymasterDataError::Length(bytes.len());
        let (window, signature) = bytes.split_first_chunk::<12>().ok_or(length)?;
        Ok(Self {
            signature: B512::try_from(signature).map_err(|_| length)?,
            window: ValidityWindow::from_bytes(*window)?,
        })
    }
}

/// The digest that the paymaster's key signs.
///
/// The operation's own paymaster fields are *not* read, nor its signature: what is signed is `header`. `delegate` is
/// [`UserOperation::effective_delegate`] and counts only with the EIP-7702 marker, whatever the EntryPoint's version.
///
/// # Errors
/// [`HashError::DelegateUnknown`] when the operation carries the marker and `delegate` is `None`.
pub fn sponsorship_digest(
    op: &UserOperation,
    chain_id: u64,
    entry_point: Address,
    header: &PaymasterHeader,
    delegate: Option<Address>,
) -> Result<B256, HashError> {
    let packed = op.pack();
    let sponsorship = Sponsorship {
        entryPoint: entry_point,
        sender: packed.sender,
        nonce: packed.nonce,
        initCode: signed_init_code(packed.initCode, delegate)?,
        callData: packed.callData,
        accountGasLimits: packed.accountGasLimits,
        preVerificationGas: packed.preVerificationGas,
        gasFees: packed.gasFees,
        paymasterHeader: header.to_bytes(),
    };
    let domain = Eip712Domain::new(
        Some("Stipend".into()),
        Some("1".into()),
        Some(U256::from(chain_id)),
        Some(header.paymaster),
        None,
    );
    Ok(sponsorship.eip712_signing_hash(&domain))
}

/// The address whose key made a compact signature over a digest; `None` when no key can have.
#[must_use]
pub fn recover_signer(digest: B256, signature: &B512) -> Option<Address> {
    Signature::from_erc2098(signature.as_slice()).recover_address_from_prehash(&digest).ok()
}

/// The `paymasterData` of a stub answer: as long as the final data, and with fewer zero bytes than any of ours can
/// have, so that what a bundler estimates with it covers the final one
/// ([ERC-7677](https://eips.ethereum.org/EIPS/eip-7677#pm_getpaymasterstubdata)).
///
/// Its window is open at every time a chain can have, because simulations check it; so `validAfter` keeps the two
/// zero bytes that every past time has. Its signature is a well-formed one that recovers to nobody in particular:
/// on chain it is refused as wrong, by the path that a right one takes.
#[must_use]
pub fn stub_paymaster_data() -> Bytes {
    let window = ValidityWindow { valid_after: STUB_VALID_AFTER, valid_until: STUB_VALID_UNTIL };
    PaymasterData { window, signature: STUB_SIGNATURE }.encode()
}
