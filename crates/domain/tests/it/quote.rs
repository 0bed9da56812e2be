//! What gas costs in points, held against exact arithmetic of 512 bits.

use alloy_primitives::{U256, U512};
use domain::quote::{Bps, CostOutOfRange};
use domain::{Points, Quote, Wei};
use proptest::prelude::*;

use crate::fixtures::micro;

fn quote(micropoints_per_e18_wei: u64, markup: u32) -> Quote {
    Quote {
        micropoints_per_e18_wei,
        markup: Bps(markup),
        source: "fixed".to_owned(),
        block_number: 0,
    }
}

fn cost(micropoints_per_e18_wei: u64, markup: u32, wei: u128) -> Result<Points, CostOutOfRange> {
    quote(micropoints_per_e18_wei, markup).cost(Wei(U256::from(wei)))
}

const E18: u128 = 1_000_000_000_000_000_000;

#[test]
fn a_whole_unit_costs_the_price() {
    assert_eq!(cost(3_000_000, 0, E18), Ok(micro(3_000_000)));
    assert_eq!(cost(3_000_000, 0, 2 * E18), Ok(micro(6_000_000)));
}

#[test]
fn the_markup_comes_on_top() {
    assert_eq!(cost(3_000_000, 1_000, E18), Ok(micro(3_300_000)));
    assert_eq!(cost(3_000_000, 10_000, E18), Ok(micro(6_000_000)));
}

#[test]
fn a_part_of_a_micropoint_costs_a_whole_one() {
    assert_eq!(cost(1, 0, 1), Ok(micro(1)));
    assert_eq!(cost(1, 0, E18), Ok(micro(1)));
    assert_eq!(cost(1, 0, E18 + 1), Ok(micro(2)));
    assert_eq!(cost(1, 1, E18), Ok(micro(2)));
}

#[test]
fn rounding_happens_once_after_the_markup() {
    assert_eq!(cost(1, 10_000, E18 / 2), Ok(micro(1)));
}

#[test]
fn nothing_costs_nothing() {
    assert_eq!(cost(u64::MAX, u32::MAX, 0), Ok(Points::ZERO));
}

#[test]
fn the_largest_amount_is_the_last_that_can_be_priced() {
    let most = Points::MAX.micropoints();
    assert_eq!(cost(most, 0, E18), Ok(Points::MAX));
    let wei = Wei(U256::from(E18 + 1));
    assert_eq!(quote(most, 0).cost(wei), Err(CostOutOfRange { wei }));
    for wei in [U256::MAX, U256::MAX >> 1, U256::from(1) << 200] {
        let wei = Wei(wei);
        assert_eq!(quote(u64::MAX, u32::MAX).cost(wei), Err(CostOutOfRange { wei }));
    }
}

/// The exact price as a fraction: numerator and denominator.
fn exact(rate: u64, markup: u32, wei: U256) -> (U512, U512) {
    let markup = U512::from(10_000) + U512::from(markup);
    let numerator = U512::from(wei) * U512::from(rate) * markup;
    (numerator, U512::from(E18) * U512::from(10_000))
}

prop_compose! {
    /// Amounts of every magnitude, not only the astronomic ones that a uniform draw would give.
    fn any_wei()(limbs in any::<[u64; 4]>(), shift in 0_usize..256) -> U256 {
        U256::from_limbs(limbs) >> shift
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn a_cost_is_above_the_exact_price_by_less_than_one_micropoint(
        rate in any::<u64>(), shift in 0_u32..64, markup in any::<u32>(), wei in any_wei()
    ) {
        let rate = rate >> shift;
        let (numerator, denominator) = exact(rate, markup, wei);
        let largest = U512::from(Points::MAX.micropoints()) * denominator;
        match quote(rate, markup).cost(Wei(wei)) {
            Ok(cost) => {
                let cost = U512::from(cost.micropoints()) * denominator;
                prop_assert!(cost >= numerator, "the house never loses");
                prop_assert!(cost - numerator < denominator, "the user loses less than one");
            }
            Err(refusal) => {
                prop_assert_eq!(refusal, CostOutOfRange { wei: Wei(wei) });
                prop_assert!(numerator > largest, "only what is too large is refused");
            }
        }
    }

    #[test]
    fn more_gas_never_costs_less(
        rate in 0..=1_000_000_000_000_u64, markup in 0..=20_000_u32, one in any_wei(), other in any_wei()
    ) {
        let quote = quote(rate, markup);
        let (less, more) = (one.min(other), one.max(other));
        match (quote.cost(Wei(less)), quote.cost(Wei(more))) {
            (Ok(less), Ok(more)) => prop_assert!(less <= more),
            (Err(_), more) => prop_assert!(more.is_err()),
            (Ok(_), Err(_)) => {}
        }
    }
}
