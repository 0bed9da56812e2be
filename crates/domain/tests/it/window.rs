//! How long a sponsorship is valid, in chain time.

use domain::chain_fact::ChainTime;
use domain::window::{
    MAX_VALIDITY_SECONDS, MIN_REMAINING_SECONDS, is_past, is_reusable, valid_until,
};

const BLOCK_NUMBER_MARK: u64 = 1 << 47;

#[test]
fn a_window_ends_its_validity_after_the_head() {
    assert_eq!(valid_until(ChainTime(1_000), 180), Ok(ChainTime(1_180)));
    assert_eq!(valid_until(ChainTime(1_000), 0), Ok(ChainTime(1_000)));
    assert_eq!(
        valid_until(ChainTime(0), MAX_VALIDITY_SECONDS),
        Ok(ChainTime(u64::from(MAX_VALIDITY_SECONDS)))
    );
}

#[test]
fn an_end_of_zero_which_means_for_ever_is_never_signed() {
    assert!(valid_until(ChainTime(0), 0).is_err());
}

#[test]
fn an_end_that_would_be_read_as_a_block_number_is_never_signed() {
    let last = ChainTime(BLOCK_NUMBER_MARK - 1);
    assert_eq!(valid_until(ChainTime(BLOCK_NUMBER_MARK - 2), 1), Ok(last));
    assert!(valid_until(last, 1).is_err());
    assert!(valid_until(ChainTime(BLOCK_NUMBER_MARK), 0).is_err());
    assert!(valid_until(ChainTime(u64::MAX), u32::MAX).is_err());
}

#[test]
fn a_grant_is_handed_out_again_while_a_minute_of_it_remains() {
    let end = ChainTime(1_000);
    assert!(is_reusable(end, ChainTime(1_000 - MIN_REMAINING_SECONDS)));
    assert!(!is_reusable(end, ChainTime(1_001 - MIN_REMAINING_SECONDS)));
    assert!(!is_reusable(end, ChainTime(u64::MAX)));
}

#[test]
fn the_last_second_of_a_window_is_still_in_it() {
    assert!(!is_past(ChainTime(1_000), ChainTime(999)));
    assert!(!is_past(ChainTime(1_000), ChainTime(1_000)));
    assert!(is_past(ChainTime(1_000), ChainTime(1_001)));
}
