//! What Stipend's paymaster signs, and the bytes in which the signature travels.
//!
//! ```text
//! header       64 bytes  paymaster(20) ‖ verification gas(16) ‖ postOp gas(16) ‖ validAfter(6) ‖ validUntil(6)
//! sequential  128 bytes  header ‖ signature(64)                        the paymaster signs before the user
//! parallel    138 bytes  header ‖ signature(64) ‖ 0x0040 ‖ magic(8)    the user may sign first; EntryPoint v0.9 only
//! ```
//! What follows the first 52 bytes is the `paymasterData` of
//! [ERC-7677](https://eips.ethereum.org/EIPS/eip-7677). The signature is compact
//! ([EIP-2098](https://eips.ethereum.org/EIPS/eip-2098)), by [EIP-712](https://eips.ethereum.org/EIPS/eip-712):
//!
//! ```text
//! sequential  Sponsorship(address entryPoint,bytes operation)
//! parallel    ParallelSponsorship(bytes32 userOpHash)
//! ```
//! `operation` is the ABI encoding of the packed operation in its sequential form, from its first word to the end of
//! the header: every field but the two signatures. The userOpHash of v0.9 leaves out the same. The contract computes
//! the same digests, and one file of vectors holds both to them.

use alloy_primitives::{Address, B256, B512, Bytes, Signature, U256, b512};
use alloy_sol_types::{Eip712Domain, SolStruct, SolValue, sol};

use crate::entry_point::EntryPointVersion;
use crate::hash::{HashError, PAYMASTER_SIGNATURE_MAGIC, signed_init_code, user_op_hash};
use crate::user_operation::{PaymasterFields, UserOperation};

/// The length of the sequential form's `paymasterData` in bytes: the window and the signature.
pub const PAYMASTER_DATA_LEN: usize = 76;

/// The length of the parallel form's `paymasterData` in bytes: with the signature's length and the magic.
pub const PARALLEL_PAYMASTER_DATA_LEN: usize = 86;

/// The length of the window in bytes, at the beginning of `paymasterData`.
pub const WINDOW_LEN: usize = 12;

/// The length of a signature in bytes, as the parallel form states it.
const SIGNATURE_LEN: [u8; 2] = [0x00, 0x40];

/// The length of the signed part of `paymasterAndData` in bytes.
pub const HEADER_LEN: usize = 64;

/// Times from here on are never signed: EntryPoint v0.9 reads a window as block numbers when both its ends lie above.
pub const TIME_LIMIT: u64 = 1 << 47;

/// What [`SignatureForm::stub_paymaster_data`] holds in place of a signature: the signature of a well-known test key over a fixed
/// text, chosen so that no byte is zero. A test makes it again.
const STUB_SIGNATURE: B512 = b512!(
    "74067f32bdd6b853674483d6adde179341c74382055233d2e31b188523b82ccb6c5a6777e00a0d4aa98a36d1868158430369d45125bafedc318ac5600a2c1414"
);

/// Its last four bytes are not zero, like those of any time between 1970-07 and 2106, and it is past on every chain.
const STUB_VALID_AFTER: u64 = 0x0101_0101;

/// The last time below [`TIME_LIMIT`]: six bytes, none of them zero.
const STUB_VALID_UNTIL: u64 = TIME_LIMIT - 1;

sol! {
    /// What is signed in the sequential form.
    struct Sponsorship {
        address entryPoint;
        bytes operation;
    }

    /// What is signed in the parallel form.
    struct ParallelSponsorship {
        bytes32 userOpHash;
    }
}

/// In which of the two forms a sponsorship is signed and travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureForm {
    /// The paymaster signs first, and the account's signature covers the paymaster's. Every EntryPoint.
    Sequential,
    /// Neither signature covers the other, so that either may be first. EntryPoint v0.9 alone.
    Parallel,
}

impl SignatureForm {
    /// The digest that the paymaster's key signs.
    ///
    /// # Errors
    /// [`HashError::DelegateUnknown`] when the operation carries the marker and `delegate` is `None`.
    pub fn digest(
        self,
        op: &UserOperation,
        chain_id: u64,
        entry_point: Address,
        header: &PaymasterHeader,
        delegate: Option<Address>,
    ) -> Result<B256, HashError> {
        match self {
            Self::Sequential => sponsorship_digest(op, chain_id, entry_point, header, delegate),
            Self::Parallel => {
                parallel_sponsorship_digest(op, chain_id, entry_point, header, delegate)
            }
        }
    }

    /// The `paymasterData` of a stub answer, as long as the final data and with no more zero bytes
    /// ([ERC-7677](https://eips.ethereum.org/EIPS/eip-7677#pm_getpaymasterstubdata)).
    #[must_use]
    pub fn stub_paymaster_data(self) -> Bytes {
        match self {
            Self::Sequential => stub().encode(),
            Self::Parallel => stub().encode_parallel(),
        }
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
    fn to_bytes(self) -> [u8; WINDOW_LEN] {
        let both = u128::from(self.valid_after) << 48 | u128::from(self.valid_until);
        let [_, _, _, _, bytes @ ..] = both.to_be_bytes();
        bytes
    }

    fn from_bytes(bytes: [u8; WINDOW_LEN]) -> Result<Self, WindowError> {
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
    pub fn sign_with(&self, form: SignatureForm, signature: B512) -> PaymasterFields {
        let data = PaymasterData { window: self.window, signature };
        PaymasterFields {
            paymaster: self.paymaster,
            verification_gas_limit: self.verification_gas_limit,
            post_op_gas_limit: self.post_op_gas_limit,
            data: match form {
                SignatureForm::Sequential => data.encode(),
                SignatureForm::Parallel => data.encode_parallel(),
            },
        }
    }

    /// The paymaster's part of the operation before anybody signed: the same fields with a stub in the signature's place.
    /// In the parallel form the account signs with this.
    #[must_use]
    pub fn unsigned(&self, form: SignatureForm) -> PaymasterFields {
        self.sign_with(form, STUB_SIGNATURE)
    }

    /// The header of an operation that carries our paymaster data, in either form.
    ///
    /// # Errors
    /// [`PaymasterDataError`] when the data is not ours.
    pub fn of(fields: &PaymasterFields) -> Result<Self, PaymasterDataError> {
        Ok(Self {
            paymaster: fields.paymaster,
            verification_gas_limit: fields.verification_gas_limit,
            post_op_gas_limit: fields.post_op_gas_limit,
            window: PaymasterData::decode(&fields.data)?.0.window,
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
    /// It has another length, given in bytes, or has 86 without ending as the parallel form does.
    #[error("paymasterData of {0} bytes holds neither 76 nor 86 that end in a paymaster signature")]
    Length(usize),
    /// Its window is not one that we sign.
    #[error(transparent)]
    Window(#[from] WindowError),
}

impl PaymasterData {
    /// The 76 bytes of the sequential form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        [&self.window.to_bytes(), self.signature.as_slice()].concat().into()
    }

    /// The 86 bytes of the parallel form.
    #[must_use]
    pub fn encode_parallel(&self) -> Bytes {
        [&self.encode(), SIGNATURE_LEN.as_slice(), &PAYMASTER_SIGNATURE_MAGIC].concat().into()
    }

    /// Reads either form, and says which. The signature is not checked; see [`recover_signer`].
    ///
    /// # Errors
    /// [`PaymasterDataError`] for another length or end, or a window that we never sign.
    pub fn decode(bytes: &[u8]) -> Result<(Self, SignatureForm), PaymasterDataError> {
        let length = PaymasterDataError::Length(bytes.len());
        let parallel = bytes
            .strip_suffix(&PAYMASTER_SIGNATURE_MAGIC)
            .and_then(|rest| rest.strip_suffix(&SIGNATURE_LEN))
            .filter(|_| bytes.len() == PARALLEL_PAYMASTER_DATA_LEN);
        let (signed, form) = parallel
            .map_or((bytes, SignatureForm::Sequential), |signed| (signed, SignatureForm::Parallel));
        let (window, signature) = signed.split_first_chunk::<WINDOW_LEN>().ok_or(length)?;
        let data = Self {
            signature: B512::try_from(signature).map_err(|_| length)?,
            window: ValidityWindow::from_bytes(*window)?,
        };
        Ok((data, form))
    }
}

/// The digest that the paymaster's key signs in the sequential form.
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
    let mut packed = op.pack();
    packed.initCode = signed_init_code(packed.initCode, delegate)?;
    packed.paymasterAndData = header.sign_with(SignatureForm::Sequential, B512::ZERO).pack();
    packed.signature = Bytes::new();
    let encoded = packed.abi_encode();
    // In front of the struct stands its offset, one word; behind the header stand 64 bytes of signature and the length
    // of an empty one.
    let end = encoded.len().saturating_sub(96);
    let operation = Bytes::copy_from_slice(encoded.get(32..end).unwrap_or_default());
    let sponsorship = Sponsorship { entryPoint: entry_point, operation };
    Ok(sponsorship.eip712_signing_hash(&domain(chain_id, header.paymaster)))
}

/// The digest that the paymaster's key signs in the parallel form, which EntryPoint v0.9 alone has.
///
/// As with [`sponsorship_digest`], `header` counts and neither the operation's own paymaster fields nor its signature.
///
/// # Errors
/// [`HashError::DelegateUnknown`] when the operation carries the marker and `delegate` is `None`.
pub fn parallel_sponsorship_digest(
    op: &UserOperation,
    chain_id: u64,
    entry_point: Address,
    header: &PaymasterHeader,
    delegate: Option<Address>,
) -> Result<B256, HashError> {
    let paymaster = Some(header.unsigned(SignatureForm::Parallel));
    let unsigned = UserOperation { paymaster, ..op.clone() };
    let hash = user_op_hash(&unsigned, EntryPointVersion::V09, entry_point, chain_id, delegate)?;
    let sponsorship = ParallelSponsorship { userOpHash: hash };
    Ok(sponsorship.eip712_signing_hash(&domain(chain_id, header.paymaster)))
}

fn domain(chain_id: u64, paymaster: Address) -> Eip712Domain {
    Eip712Domain::new(
        Some("Stipend".into()),
        Some("1".into()),
        Some(U256::from(chain_id)),
        Some(paymaster),
        None,
    )
}

/// The address whose key made a compact signature over a digest; `None` when no key can have.
#[must_use]
pub fn recover_signer(digest: B256, signature: &B512) -> Option<Address> {
    Signature::from_erc2098(signature.as_slice()).recover_address_from_prehash(&digest).ok()
}

/// What stands in a stub answer: as long as the final data, and with fewer zero bytes than any of ours can have, so that
/// what a bundler estimates with it covers the final one.
///
/// Its window is open at every time a chain can have, because simulations check it; so `validAfter` keeps the two
/// zero bytes that every past time has. Its signature is a well-formed one that recovers to nobody in particular:
/// on chain it is refused as wrong, by the path that a right one takes.
const fn stub() -> PaymasterData {
    let window = ValidityWindow { valid_after: STUB_VALID_AFTER, valid_until: STUB_VALID_UNTIL };
    PaymasterData { window, signature: STUB_SIGNATURE }
}
