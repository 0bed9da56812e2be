//! What an honest operation can cost.

use alloy_primitives::U256;
use domain::bounds::{Bounds, BoundsRefusal, Measured, check};
use domain::quote::Bps;
use domain::{FeePerGas, Gas};
use erc4337::PaymasterFields;
use erc4337::UserOperation;

const BOUNDS: Bounds = Bounds {
    pre_verification_gas: Bps(12_500),
    gas_limits: Bps(15_000),
    call_gas_floor: Gas(60_000),
    priority_fee: Bps(20_000),
    priority_fee_floor: FeePerGas(100),
    paymaster_verification_gas_cap: Gas(60_000),
};

fn measured() -> Measured {
    Measured {
        pre_verification_gas: Gas(40_000),
        call_gas_limit: Gas(100_000),
        verification_gas_limit: Gas(200_000),
        base_fee: FeePerGas(1_000),
        priority_fee: FeePerGas(500),
    }
}

/// An operation that stands at every bound at once.
fn at_the_bounds() -> UserOperation {
    UserOperation {
        call_gas_limit: 150_000,
        verification_gas_limit: 300_000,
        pre_verification_gas: U256::from(50_000),
        max_fee_per_gas: 1_000,
        max_priority_fee_per_gas: 1_000,
        paymaster: Some(PaymasterFields {
            verification_gas_limit: 60_000,
            ..PaymasterFields::default()
        }),
        ..UserOperation::default()
    }
}

#[track_caller]
fn refuses(operation: &UserOperation, field: &'static str, value: u128, bound: u128) {
    let refusal =
        BoundsRefusal::TooHigh { field, value: U256::from(value), bound: U256::from(bound) };
    assert_eq!(check(operation, &BOUNDS, &measured()), Err(refusal));
}

#[test]
fn an_operation_at_its_bounds_is_sponsored() {
    assert_eq!(check(&at_the_bounds(), &BOUNDS, &measured()), Ok(()));
}

#[test]
fn an_operation_without_a_paymaster_yet_is_sponsored() {
    let operation = UserOperation { paymaster: None, ..at_the_bounds() };
    assert_eq!(check(&operation, &BOUNDS, &measured()), Ok(()));
}

#[test]
fn one_above_a_bound_is_refused_by_name() {
    let mut operation = at_the_bounds();
    operation.call_gas_limit += 1;
    refuses(&operation, "callGasLimit", 150_001, 150_000);

    let mut operation = at_the_bounds();
    operation.verification_gas_limit += 1;
    refuses(&operation, "verificationGasLimit", 300_001, 300_000);

    let mut operation = at_the_bounds();
    operation.pre_verification_gas += U256::from(1);
    refuses(&operation, "preVerificationGas", 50_001, 50_000);

    let mut operation = at_the_bounds();
    operation.max_priority_fee_per_gas += 1;
    refuses(&operation, "maxPriorityFeePerGas", 1_001, 1_000);

    let mut operation = at_the_bounds();
    operation.paymaster.as_mut().unwrap().verification_gas_limit += 1;
    refuses(&operation, "paymasterVerificationGasLimit", 60_001, 60_000);
}

#[test]
fn an_operation_below_the_base_fee_would_only_hold_points() {
    let operation = UserOperation { max_fee_per_gas: 999, ..at_the_bounds() };
    let refusal = BoundsRefusal::BelowBaseFee { value: FeePerGas(999), base_fee: FeePerGas(1_000) };
    assert_eq!(check(&operation, &BOUNDS, &measured()), Err(refusal));
}

#[test]
fn on_a_quiet_chain_the_floor_of_the_tip_counts() {
    let quiet = Measured { priority_fee: FeePerGas(0), ..measured() };
    let tip = |tip| UserOperation { max_priority_fee_per_gas: tip, ..at_the_bounds() };
    assert_eq!(check(&tip(100), &BOUNDS, &quiet), Ok(()));
    assert!(check(&tip(101), &BOUNDS, &quiet).is_err());
}

#[test]
fn a_bound_is_rounded_down() {
    let without_floor = Bounds { call_gas_floor: Gas(0), ..BOUNDS };
    let odd = Measured { call_gas_limit: Gas(3), ..measured() };
    let calls = |limit| UserOperation { call_gas_limit: limit, ..at_the_bounds() };
    assert_eq!(check(&calls(4), &without_floor, &odd), Ok(()));
    assert!(check(&calls(5), &without_floor, &odd).is_err());
}

#[test]
fn an_absurd_estimate_neither_overflows_nor_refuses() {
    let absurd = Measured {
        pre_verification_gas: Gas(u128::MAX),
        call_gas_limit: Gas(u128::MAX),
        verification_gas_limit: Gas(u128::MAX),
        base_fee: FeePerGas(0),
        priority_fee: FeePerGas(u128::MAX),
    };
    assert_eq!(check(&at_the_bounds(), &BOUNDS, &absurd), Ok(()));
}

#[test]
fn a_call_gas_limit_up_to_its_floor_is_sponsored_whatever_simulation_asks_for() {
    let measured = Measured { call_gas_limit: Gas(10_000), ..measured() };
    let mut operation = UserOperation { call_gas_limit: 60_000, ..at_the_bounds() };
    assert_eq!(check(&operation, &BOUNDS, &measured), Ok(()));
    operation.call_gas_limit += 1;
    let (value, bound) = (U256::from(60_001), U256::from(60_000));
    let refusal = BoundsRefusal::TooHigh { field: "callGasLimit", value, bound };
    assert_eq!(check(&operation, &BOUNDS, &measured), Err(refusal));
}
