//! What an operation can cost at most, and what its preVerificationGas ought to be.

use alloy_primitives::{B256, Bytes, U256};
use alloy_sol_types::SolValue;

use crate::packed::PackedUserOperation;
use crate::user_operation::{PaymasterFields, UserOperation};

/// What every transaction pays ([Yellow Paper](https://ethereum.github.io/yellowpaper/paper.pdf), appendix G).
const TRANSACTION_GAS: u128 = 21_000;
/// What a nonzero byte of calldata costs, counted in zero bytes.
const TOKENS_PER_NONZERO_BYTE: u128 = 4;
/// Gas per token of calldata ([EIP-2028](https://eips.ethereum.org/EIPS/eip-2028)).
const GAS_PER_TOKEN: u128 = 4;
/// The least gas per token, execution included ([EIP-7623](https://eips.ethereum.org/EIPS/eip-7623)).
const FLOOR_GAS_PER_TOKEN: u128 = 10;
/// What `handleOps` spends around the operations and no operation measures: the calldata of the call itself, the
/// reentrancy guard, the beneficiary's payment.
const BUNDLE_GAS: u128 = 9_900;
/// What the EntryPoint spends on an operation outside of its measured parts: memory, the hash, the event.
const OPERATION_GAS: u128 = 7_300;
/// The same for each word of callData, which is copied.
const CALL_DATA_WORD_GAS: u128 = 10;
/// What `executeUserOp` adds, in all and for each word of the operation, which is encoded once more.
const EXECUTE_USER_OP_GAS: (u128, u128) = (1_650, 9);
/// The selector of `executeUserOp(PackedUserOperation,bytes32)`.
const EXECUTE_USER_OP: [u8; 4] = [0x8d, 0xd7, 0x71, 0x2f];
/// What an authorisation costs the transaction that carries it
/// ([EIP-7702](https://eips.ethereum.org/EIPS/eip-7702#gas-costs)).
const AUTHORIZATION_GAS: u128 = 25_000;
/// A dummy signature that is shorter than this stands for one of this length, in bytes.
const SIGNATURE_LEN: usize = 65;
/// The part of the call's and the postOp's gas limit that is spent at least, as a divisor: the unused-gas penalty.
const SPENT_SHARE: u128 = 10;

/// The sum or the product is beyond 256 bits. The EntryPoint refuses such an operation too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operation's gas limits and fees overflow 256 bits")]
pub struct GasOverflow;

/// Which price a chain puts on calldata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalldataPrice {
    /// Bytes cost the same whatever the transaction does.
    Eip2028,
    /// A transaction pays at least the floor price of its calldata.
    Eip7623,
}

/// The sum of all gas limits, the paymaster's included, in gas.
///
/// # Errors
/// [`GasOverflow`] beyond 256 bits.
pub fn max_gas(op: &UserOperation) -> Result<U256, GasOverflow> {
    let mut limits = vec![op.call_gas_limit, op.verification_gas_limit];
    if let Some(paymaster) = &op.paymaster {
        limits.extend([paymaster.verification_gas_limit, paymaster.post_op_gas_limit]);
    }
    limits
        .into_iter()
        .try_fold(op.pre_verification_gas, |sum, limit| sum.checked_add(U256::from(limit)))
        .ok_or(GasOverflow)
}

/// The most that the operation can cost its payer, in wei: [`max_gas`] × maxFeePerGas. This is what the EntryPoint
/// takes from the deposit before it validates, for v0.7, v0.8 and v0.9 alike.
///
/// # Errors
/// [`GasOverflow`] beyond 256 bits.
pub fn max_cost(op: &UserOperation) -> Result<U256, GasOverflow> {
    max_gas(op)?.checked_mul(U256::from(op.max_fee_per_gas)).ok_or(GasOverflow)
}

/// Our own estimate of the preVerificationGas that a bundler needs for this operation alone in its bundle, without
/// what a rollup charges for data. In gas.
///
/// It counts limits, fees, signature and paymaster data as nonzero bytes, as bundlers do before these are known, and
/// rounds its constants up, so that it is not below what a bundler asks. Set `op.paymaster` first: its bytes count.
/// The EntryPoint's version does not enter, because the packed form has one shape.
#[must_use]
pub fn required_pre_verification_gas(op: &UserOperation, price: CalldataPrice) -> u128 {
    let encoded = filled(op).abi_encode();
    let tokens = encoded
        .iter()
        .map(|byte| if *byte == 0 { 1 } else { TOKENS_PER_NONZERO_BYTE })
        .sum::<u128>();
    let overhead = BUNDLE_GAS + operation_overhead(op, encoded.len());
    match price {
        CalldataPrice::Eip2028 => TRANSACTION_GAS + GAS_PER_TOKEN * tokens + overhead,
        CalldataPrice::Eip7623 => {
            let post_op = op.paymaster.as_ref().map_or(0, |p| p.post_op_gas_limit);
            let spent = op.call_gas_limit.saturating_add(post_op) / SPENT_SHARE;
            // The limits pay for what is spent; only what the floor price asks beyond that is left to charge here.
            let floor = (FLOOR_GAS_PER_TOKEN * tokens).saturating_sub(spent);
            TRANSACTION_GAS + floor.max(GAS_PER_TOKEN * tokens + overhead)
        }
    }
}

fn operation_overhead(op: &UserOperation, encoded_len: usize) -> u128 {
    let authorization = match op.eip7702_auth {
        Some(_) => AUTHORIZATION_GAS,
        None => 0,
    };
    let call = if op.call_data.starts_with(&EXECUTE_USER_OP) {
        let (once, per_word) = EXECUTE_USER_OP_GAS;
        once + per_word * words(encoded_len)
    } else {
        CALL_DATA_WORD_GAS * words(op.call_data.len())
    };
    OPERATION_GAS + authorization + call
}

/// The operation as it will be on the wire, with nonzero bytes where its values are not final.
fn filled(op: &UserOperation) -> PackedUserOperation {
    let paymaster = op.paymaster.as_ref().map(|fields| PaymasterFields {
        paymaster: fields.paymaster,
        verification_gas_limit: u128::MAX,
        post_op_gas_limit: u128::MAX,
        data: nonzero_bytes(fields.data.len()),
    });
    PackedUserOperation {
        accountGasLimits: B256::repeat_byte(0xff),
        preVerificationGas: U256::MAX,
        gasFees: B256::repeat_byte(0xff),
        paymasterAndData: paymaster.map(|fields| fields.pack()).unwrap_or_default(),
        signature: nonzero_bytes(op.signature.len().max(SIGNATURE_LEN)),
        ..op.pack()
    }
}

fn nonzero_bytes(len: usize) -> Bytes {
    vec![0xff; len].into()
}

fn words(bytes: usize) -> u128 {
    u128::try_from(bytes.div_ceil(32)).unwrap_or(u128::MAX)
}
