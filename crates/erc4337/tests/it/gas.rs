use alloy_primitives::U256;
use erc4337::gas::{CalldataPrice, GasOverflow, max_cost, max_gas, required_pre_verification_gas};
use erc4337::{PaymasterFields, UserOperation};
use serde::Deserialize;

fn operation() -> UserOperation {
    UserOperation {
        call_gas_limit: 1,
        verification_gas_limit: 20,
        pre_verification_gas: U256::from(300),
        max_fee_per_gas: 7,
        max_priority_fee_per_gas: 5,
        paymaster: Some(PaymasterFields {
            verification_gas_limit: 4_000,
            post_op_gas_limit: 50_000,
            ..PaymasterFields::default()
        }),
        ..UserOperation::default()
    }
}

#[test]
fn the_maximum_is_all_five_limits_at_the_highest_fee() {
    assert_eq!(max_gas(&operation()), Ok(U256::from(54_321)));
    assert_eq!(max_cost(&operation()), Ok(U256::from(54_321 * 7)));
}

#[test]
fn a_self_paying_operation_has_three_limits() {
    let op = UserOperation { paymaster: None, ..operation() };
    assert_eq!(max_gas(&op), Ok(U256::from(321)));
}

#[test]
fn what_overflows_is_refused() {
    let too_much_gas = UserOperation { pre_verification_gas: U256::MAX, ..operation() };
    assert_eq!(max_gas(&too_much_gas), Err(GasOverflow));
    let too_dear = UserOperation { pre_verification_gas: U256::MAX >> 1, ..operation() };
    assert_eq!(max_cost(&too_dear), Err(GasOverflow));
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BundlerEstimate {
    name: String,
    eip7623: bool,
    user_operation: UserOperation,
    pre_verification_gas: u128,
}

#[derive(Deserialize)]
struct BundlerEstimates {
    cases: Vec<BundlerEstimate>,
}

/// The fixture records what the bundler of the development stack computes for these operations.
#[test]
fn our_estimate_is_at_least_the_bundlers_and_at_most_a_twentieth_more() {
    let estimates: BundlerEstimates =
        serde_json::from_str(include_str!("../fixtures/pre-verification-gas.json")).unwrap();
    assert!(!estimates.cases.is_empty());
    for case in estimates.cases {
        let price = match case.eip7623 {
            true => CalldataPrice::Eip7623,
            false => CalldataPrice::Eip2028,
        };
        let ours = required_pre_verification_gas(&case.user_operation, price);
        let theirs = case.pre_verification_gas;
        assert!(
            ours >= theirs && ours <= theirs + theirs / 20,
            "{}: ours {ours}, theirs {theirs}",
            case.name
        );
    }
}

#[test]
fn a_short_dummy_signature_counts_as_a_whole_one() {
    let price = CalldataPrice::Eip2028;
    let with = |len: usize| {
        let op = UserOperation { signature: vec![1; len].into(), ..operation() };
        required_pre_verification_gas(&op, price)
    };
    assert_eq!(with(0), with(65));
    assert!(with(65) < with(66));
}
