//! What an honest operation can cost (promise 10): an operation is charged its signed gas limits'
//! share at fees that its sender chose, and the bundler who collects may be the same person.

use alloy_primitives::U256;
use erc4337::UserOperation;

use crate::quote::{Bps, WHOLE_BPS};
use crate::{FeePerGas, Gas};

/// How far an operation may be above what it needs. Factors are in basis points: 15 000 allows half
/// as much again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// preVerificationGas against our own estimate for these bytes.
    pub pre_verification_gas: Bps,
    /// Call and verification limits against what simulation needs.
    pub gas_limits: Bps,
    /// A call gas limit that is always allowed: bundlers give no less while they hold another
    /// operation of the sender. What is unused of it is hardly charged.
    pub call_gas_floor: Gas,
    /// maxPriorityFeePerGas against the market.
    pub priority_fee: Bps,
    /// A tip that is always allowed: quiet chains have a market of almost nothing.
    pub priority_fee_floor: FeePerGas,
    /// The most gas the paymaster's own verification may be given.
    pub paymaster_verification_gas_cap: Gas,
}

/// What the chain says about the operation at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Our estimate of preVerificationGas for these bytes.
    pub pre_verification_gas: Gas,
    /// Call gas limit that the bundler's simulation asks for.
    pub call_gas_limit: Gas,
    /// Verification gas limit that it asks for.
    pub verification_gas_limit: Gas,
    /// The head's base fee.
    pub base_fee: FeePerGas,
    /// The market's tip.
    pub priority_fee: FeePerGas,
}

/// An operation that could cost more than it honestly needs, or that cannot land.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundsRefusal {
    /// A limit or fee above its bound.
    #[error("{field} is {value}, at most {bound} is sponsored here")]
    TooHigh {
        /// The operation's field, as on the wire.
        field: &'static str,
        /// What it asks for.
        value: U256,
        /// What would be sponsored.
        bound: U256,
    },
    /// maxFeePerGas under the base fee: it would wait in the pool and hold points meanwhile.
    #[error("maxFeePerGas is {value}, below the base fee of {base_fee}")]
    BelowBaseFee {
        /// What it offers.
        value: FeePerGas,
        /// What the head asks.
        base_fee: FeePerGas,
    },
}

/// Checks an operation against its bounds.
///
/// # Errors
/// The first field, in the order of the wire, that is out of bounds.
pub fn check(
    operation: &UserOperation,
    bounds: &Bounds,
    measured: &Measured,
) -> Result<(), BoundsRefusal> {
    at_most(
        "callGasLimit",
        U256::from(operation.call_gas_limit),
        scaled(measured.call_gas_limit.0, bounds.gas_limits)
            .max(U256::from(bounds.call_gas_floor.0)),
    )?;
    at_most(
        "verificationGasLimit",
        U256::from(operation.verification_gas_limit),
        scaled(measured.verification_gas_limit.0, bounds.gas_limits),
    )?;
    at_most(
        "preVerificationGas",
        operation.pre_verification_gas,
        scaled(measured.pre_verification_gas.0, bounds.pre_verification_gas),
    )?;
    at_most(
        "maxPriorityFeePerGas",
        U256::from(operation.max_priority_fee_per_gas),
        scaled(measured.priority_fee.0, bounds.priority_fee)
            .max(U256::from(bounds.priority_fee_floor.0)),
    )?;
    if let Some(paymaster) = &operation.paymaster {
        at_most(
            "paymasterVerificationGasLimit",
            U256::from(paymaster.verification_gas_limit),
            U256::from(bounds.paymaster_verification_gas_cap.0),
        )?;
    }
    let (value, base_fee) = (FeePerGas(operation.max_fee_per_gas), measured.base_fee);
    if value < base_fee {
        return Err(BoundsRefusal::BelowBaseFee { value, base_fee });
    }
    Ok(())
}

/// `value × factor`, rounded down. The product is below 2¹⁶⁰, so that nothing is lost.
fn scaled(value: u128, factor: Bps) -> U256 {
    U256::from(value).saturating_mul(U256::from(factor.0)) / U256::from(WHOLE_BPS)
}

fn at_most(field: &'static str, value: U256, bound: U256) -> Result<(), BoundsRefusal> {
    if value > bound { Err(BoundsRefusal::TooHigh { field, value, bound }) } else { Ok(()) }
}
