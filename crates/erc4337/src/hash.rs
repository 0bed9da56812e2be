//! The userOpHash: what the account signs and what receipts are found by.
//!
//! Since v0.8 it is an EIP-712 hash in the domain `ERC4337` `1`, in which the delegate stands for the EIP-7702
//! marker. v0.9 also leaves out a paymaster signature that ends `paymasterAndData`
//! ([ERC-4337](https://eips.ethereum.org/EIPS/eip-4337#useroperation)).

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, SolValue};

use crate::entry_point::EntryPointVersion;
use crate::packed::{init_code_with_delegate, is_eip7702_init_code};
use crate::user_operation::UserOperation;

/// The last eight bytes of a `paymasterAndData` that ends in a paymaster signature (v0.9).
pub const PAYMASTER_SIGNATURE_MAGIC: [u8; 8] = [0x22, 0xe3, 0x25, 0xa2, 0x97, 0x43, 0x96, 0x56];

/// The length of the address and both limits in bytes, which a paymaster signature cannot reach into.
pub(crate) const PAYMASTER_STATIC_LEN: usize = 52;
/// The length of the signature (2 bytes) and the magic (8 bytes).
const PAYMASTER_SUFFIX_LEN: usize = 10;

/// Why an operation has no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The operation carries the EIP-7702 marker and nothing says which delegate the sender will have.
    #[error("the operation carries the EIP-7702 marker, but its sender has no known delegate")]
    DelegateUnknown,
    /// The length before the magic reaches before the paymaster's data; the EntryPoint reverts on it.
    #[error(
        "paymasterAndData ends in a signature of {signature} bytes, but holds {total} bytes in all"
    )]
    PaymasterSignatureLength {
        /// Bytes that the suffix claims.
        signature: usize,
        /// Bytes that there are.
        total: usize,
    },
}

mod typed {
    alloy_sol_types::sol! {
        /// What v0.8 and later hash: the operation without its signature.
        struct PackedUserOperation {
            address sender;
            uint256 nonce;
            bytes initCode;
            bytes callData;
            bytes32 accountGasLimits;
            uint256 preVerificationGas;
            bytes32 gasFees;
            bytes paymasterAndData;
        }
    }
}

/// The hash that `EntryPoint.getUserOpHash` returns.
///
/// `delegate` is [`UserOperation::effective_delegate`]; it counts only when the operation carries the EIP-7702
/// marker, and not at all on v0.7, which hashes the initCode as it stands. There the result holds for the 20-byte
/// marker that [`UserOperation::pack`] writes.
///
/// # Errors
/// [`HashError`] where the contract would revert: an unknown delegate, or an impossible paymaster signature length.
pub fn user_op_hash(
    op: &UserOperation,
    version: EntryPointVersion,
    entry_point: Address,
    chain_id: u64,
    delegate: Option<Address>,
) -> Result<B256, HashError> {
    match version {
        EntryPointVersion::V07 => Ok(hash_v07(op, entry_point, chain_id)),
        EntryPointVersion::V08 => {
            let data = op.pack().paymasterAndData;
            hash_typed(op, data, entry_point, chain_id, delegate)
        }
        EntryPointVersion::V09 => {
            let data = without_paymaster_signature(&op.pack().paymasterAndData)?;
            hash_typed(op, data, entry_point, chain_id, delegate)
        }
    }
}

fn hash_v07(op: &UserOperation, entry_point: Address, chain_id: u64) -> B256 {
    let packed = op.pack();
    let inner = (
        packed.sender,
        packed.nonce,
        keccak256(&packed.initCode),
        keccak256(&packed.callData),
        packed.accountGasLimits,
        packed.preVerificationGas,
        packed.gasFees,
        keccak256(&packed.paymasterAndData),
    );
    let outer = (keccak256(inner.abi_encode()), entry_point, U256::from(chain_id));
    keccak256(outer.abi_encode())
}

fn hash_typed(
    op: &UserOperation,
    paymaster_and_data: Bytes,
    entry_point: Address,
    chain_id: u64,
    delegate: Option<Address>,
) -> Result<B256, HashError> {
    let packed = op.pack();
    let typed = typed::PackedUserOperation {
        sender: packed.sender,
        nonce: packed.nonce,
        initCode: signed_init_code(packed.initCode, delegate)?,
        callData: packed.callData,
        accountGasLimits: packed.accountGasLimits,
        preVerificationGas: packed.preVerificationGas,
        gasFees: packed.gasFees,
        paymasterAndData: paymaster_and_data,
    };
    let domain = Eip712Domain::new(
        Some("ERC4337".into()),
        Some("1".into()),
        Some(U256::from(chain_id)),
        Some(entry_point),
        None,
    );
    Ok(typed.eip712_signing_hash(&domain))
}

/// The initCode as it is signed: with the delegate in place of the EIP-7702 marker, otherwise as it is.
///
/// # Errors
/// [`HashError::DelegateUnknown`] when there is a marker and no delegate.
pub fn signed_init_code(init_code: Bytes, delegate: Option<Address>) -> Result<Bytes, HashError> {
    if !is_eip7702_init_code(&init_code) {
        return Ok(init_code);
    }
    delegate
        .and_then(|delegate| init_code_with_delegate(&init_code, delegate))
        .ok_or(HashError::DelegateUnknown)
}

/// `paymasterAndData` as v0.9 hashes it: when it ends in a paymaster signature, the signature and its length are left out
/// and the magic stays.
fn without_paymaster_signature(paymaster_and_data: &Bytes) -> Result<Bytes, HashError> {
    Ok(match split_paymaster_signature(paymaster_and_data)? {
        Some(split) => [split.signed, &PAYMASTER_SIGNATURE_MAGIC].concat().into(),
        None => paymaster_and_data.clone(),
    })
}

/// A `paymasterAndData` that ends in `signature ‖ uint16 length ‖ magic`, taken apart.
pub(crate) struct PaymasterSignature<'a> {
    /// What stands before it.
    pub(crate) signed: &'a [u8],
    /// Its own bytes.
    pub(crate) signature: &'a [u8],
}

/// The paymaster signature at the end; `None` where there is none, which a length of zero says as well.
///
/// # Errors
/// [`HashError::PaymasterSignatureLength`] when the signature would reach before the paymaster's data.
pub(crate) fn split_paymaster_signature(
    paymaster_and_data: &[u8],
) -> Result<Option<PaymasterSignature<'_>>, HashError> {
    let total = paymaster_and_data.len();
    let suffix = paymaster_and_data
        .strip_suffix(&PAYMASTER_SIGNATURE_MAGIC)
        .and_then(|before_magic| before_magic.split_last_chunk::<2>())
        .filter(|_| total >= PAYMASTER_STATIC_LEN + PAYMASTER_SUFFIX_LEN);
    let Some((before_length, length)) = suffix else { return Ok(None) };
    let signature = usize::from(u16::from_be_bytes(*length));
    if signature == 0 {
        return Ok(None);
    }
    before_length
        .len()
        .checked_sub(signature)
        .filter(|signed_len| *signed_len >= PAYMASTER_STATIC_LEN)
        .and_then(|signed_len| before_length.split_at_checked(signed_len))
        .map(|(signed, signature)| Some(PaymasterSignature { signed, signature }))
        .ok_or(HashError::PaymasterSignatureLength { signature, total })
}
