//! The columns of the sponsorship table that requests command: grant, close and cancel by proof.

use alloy_primitives::U256;
use domain::ledger::sponsorship::{
    CancelOutcome, GrantOutcome, GrantRefusal, GrantRequest, MAX_GRANTS, SponsorshipState,
};
use domain::quote::{Bps, CostOutOfRange};
use domain::{Quote, Wei};

use crate::account::{Account, expect_balances};
use crate::fixtures::{
    HEAD, VALIDITY, landed, micro, quote, release_proof, request, request_at, slot,
};

const GRANTED: GrantOutcome = GrantOutcome::Granted;

fn refused(refusal: GrantRefusal) -> GrantOutcome {
    GrantOutcome::Refused(refusal)
}

fn insufficient(available: u64, needed: u64) -> GrantOutcome {
    refused(GrantRefusal::InsufficientPoints { available: micro(available), needed: micro(needed) })
}

fn opened(available: u64, max_cost: u64) -> Account {
    let mut account = Account::with(available);
    assert_eq!(account.grant(0, &request(1, max_cost)), GRANTED);
    account
}

/// The first chain time that is past a grant made at [`HEAD`].
const PAST: u64 = HEAD + VALIDITY + 1;

#[test]
fn a_first_request_opens_an_attempt_and_sets_its_cost_aside() {
    let account = opened(100, 60);
    expect_balances(&account, 40, 60, 0, 0);
    let attempt = account.attempt(0);
    assert_eq!(
        (attempt.attempt, attempt.state, attempt.closing),
        (1, SponsorshipState::Open, false)
    );
    assert_eq!((attempt.reserved, attempt.grants.len()), (micro(60), 1));
}

#[test]
fn a_request_may_take_the_last_point() {
    expect_balances(&opened(60, 60), 0, 60, 0, 0);
}

#[test]
fn a_request_of_too_much_is_refused_and_nothing_is_remembered() {
    let mut account = Account::with(100);
    assert_eq!(account.grant(0, &request(1, 101)), insufficient(100, 101));
    assert!(account.sponsorships.is_empty());
    expect_balances(&account, 100, 0, 0, 0);
}

#[test]
fn refused_then_credited_the_same_nonce_succeeds() {
    let mut account = Account::with(100);
    assert_eq!(account.grant(0, &request(1, 150)), insufficient(100, 150));
    account.credit(50).unwrap();
    assert_eq!(account.grant(0, &request(1, 150)), GRANTED);
    assert_eq!(account.attempt(0).attempt, 1);
    expect_balances(&account, 0, 150, 0, 0);
}

#[test]
fn a_cost_beyond_points_is_refused_and_nothing_is_remembered() {
    let mut account = Account::with(100);
    let mut dear = request(2, 1);
    dear.max_cost = Wei(U256::MAX);
    let out_of_range = refused(CostOutOfRange { wei: Wei(U256::MAX) }.into());
    assert_eq!(account.grant(0, &dear), out_of_range);
    assert!(account.sponsorships.is_empty());

    assert_eq!(account.grant(0, &request(1, 60)), GRANTED);
    assert_eq!(account.grant(0, &dear), out_of_range);
    assert_eq!(account.attempt(0).grants.len(), 1);
    expect_balances(&account, 40, 60, 0, 0);
}

#[test]
fn a_repeat_within_the_window_gets_the_same_grant() {
    let mut account = opened(100, 60);
    let before = account.attempt(0).clone();
    for head in [HEAD, HEAD + 1, HEAD + VALIDITY - 60] {
        assert_eq!(account.grant(0, &request_at(1, 60, head)), GrantOutcome::Replayed(0));
    }
    assert_eq!(*account.attempt(0), before);
    expect_balances(&account, 40, 60, 0, 0);
}

#[test]
fn a_repeat_with_less_than_a_minute_left_gets_a_new_grant_under_the_same_reservation() {
    let mut account = opened(100, 60);
    let late = HEAD + VALIDITY - 59;
    assert_eq!(account.grant(0, &request_at(1, 60, late)), GRANTED);
    let attempt = account.attempt(0);
    assert_eq!((attempt.attempt, attempt.grants.len()), (1, 2));
    assert_eq!(attempt.grants[1].valid_until.0, late + VALIDITY);
    expect_balances(&account, 40, 60, 0, 0);
    assert_eq!(account.grant(0, &request_at(1, 60, late)), GrantOutcome::Replayed(1));
}

#[test]
fn a_repeat_needs_no_points() {
    let mut account = opened(60, 60);
    assert_eq!(account.grant(0, &request(1, 60)), GrantOutcome::Replayed(0));
    let late = request_at(1, 60, HEAD + VALIDITY);
    assert_eq!(account.grant(0, &late), GRANTED);
    expect_balances(&account, 0, 60, 0, 0);
}

#[test]
fn a_bump_extends_to_the_larger_amount_and_not_to_the_sum() {
    let mut account = opened(200, 60);
    assert_eq!(account.grant(0, &request(2, 70)), GRANTED);
    let attempt = account.attempt(0);
    assert_eq!((attempt.attempt, attempt.reserved, attempt.grants.len()), (1, micro(70), 2));
    expect_balances(&account, 130, 70, 0, 0);
}

#[test]
fn a_cheaper_variant_never_shrinks_the_reservation() {
    let mut account = opened(100, 60);
    assert_eq!(account.grant(0, &request(2, 10)), GRANTED);
    assert_eq!(account.attempt(0).reserved, micro(60));
    assert_eq!(account.attempt(0).grants[1].points, micro(10));
    expect_balances(&account, 40, 60, 0, 0);
}

#[test]
fn every_variant_can_be_repeated_after_a_bump() {
    let mut account = opened(100, 60);
    account.grant(0, &request(2, 70));
    assert_eq!(account.grant(0, &request(1, 60)), GrantOutcome::Replayed(0));
    assert_eq!(account.grant(0, &request(2, 70)), GrantOutcome::Replayed(1));
}

#[test]
fn a_bump_that_is_too_dear_is_refused_and_leaves_everything_as_it_was() {
    let mut account = opened(100, 60);
    let before = account.attempt(0).clone();
    assert_eq!(account.grant(0, &request(2, 101)), insufficient(40, 41));
    assert_eq!(*account.attempt(0), before);
    expect_balances(&account, 40, 60, 0, 0);
    assert_eq!(account.grant(0, &request(1, 60)), GrantOutcome::Replayed(0));
    assert_eq!(account.grant(0, &request(2, 100)), GRANTED);
    expect_balances(&account, 0, 100, 0, 0);
}

#[test]
fn a_bump_inherits_the_price_and_the_next_attempt_takes_a_new_one() {
    let mut account = opened(1_000, 60);
    let mut dearer = request(2, 70);
    dearer.quote = Quote { markup: Bps(5_000), ..quote(3) };
    assert_eq!(account.grant(0, &dearer), GRANTED);
    expect_balances(&account, 930, 70, 0, 0);

    assert_eq!(account.cancel(0, &release_proof(slot(0), PAST)), CancelOutcome::Released);
    assert_eq!(account.grant(0, &dearer), GRANTED);
    expect_balances(&account, 685, 315, 0, 0);
}

#[test]
fn an_attempt_takes_so_many_grants_and_no_more() {
    let mut account = opened(100, 10);
    for name in 2..=u8::try_from(MAX_GRANTS).unwrap() {
        assert_eq!(account.grant(0, &request(name, 10)), GRANTED);
    }
    assert_eq!(account.grant(0, &request(99, 10)), refused(GrantRefusal::TooManyGrants));
    assert_eq!(account.grant(0, &request(1, 10)), GrantOutcome::Replayed(0));
    assert_eq!(account.attempt(0).grants.len(), MAX_GRANTS);
    expect_balances(&account, 90, 10, 0, 0);
}

/// Owes 30 after its operation cost more than it had, and has an open attempt of 10 on slot 1.
fn debtor() -> Account {
    let mut account = opened(100, 60);
    assert_eq!(account.grant(1, &request(1, 10)), GRANTED);
    account.confirm(&landed(1, 120));
    expect_balances(&account, 0, 10, 120, 30);
    account
}

fn above_ceiling(debt: u64, ceiling: u64) -> GrantOutcome {
    refused(GrantRefusal::DebtAboveCeiling { debt: micro(debt), ceiling: micro(ceiling) })
}

#[test]
fn a_debt_above_the_ceiling_refuses_new_attempts_and_is_repaid_before_anything_is_spent() {
    let mut account = debtor();
    let tolerant = GrantRequest { debt_ceiling: micro(29), ..request(1, 60) };
    assert_eq!(account.grant(2, &request(1, 60)), above_ceiling(30, 0));
    assert_eq!(account.grant(2, &tolerant), above_ceiling(30, 29));

    account.credit(1).unwrap();
    expect_balances(&account, 0, 10, 120, 29);
    assert_eq!(account.grant(2, &tolerant), insufficient(0, 60), "the debt is borne now");
    assert_eq!(account.grant(2, &request(1, 60)), above_ceiling(29, 0));

    account.credit(29 + 60).unwrap();
    expect_balances(&account, 60, 10, 120, 0);
    assert_eq!(account.grant(2, &request(1, 60)), GRANTED);
}

#[test]
fn a_debt_does_not_keep_an_open_attempt_from_its_repeats_and_bumps() {
    let mut account = debtor();
    assert_eq!(account.grant(1, &request(1, 10)), GrantOutcome::Replayed(0));
    assert_eq!(account.grant(1, &request(2, 10)), GRANTED);
    assert_eq!(account.cancel(1, &release_proof(slot(1), PAST)), CancelOutcome::Released);
    assert_eq!(account.grant(1, &request(2, 10)), above_ceiling(30, 0), "a new attempt");
}

#[test]
fn slots_do_not_see_each_other_but_share_the_points() {
    let mut account = opened(100, 60);
    assert_eq!(account.grant(1, &request(1, 41)), insufficient(40, 41));
    assert_eq!(account.grant(1, &request(1, 40)), GRANTED);
    expect_balances(&account, 0, 100, 0, 0);
}

#[test]
fn a_landed_nonce_is_used() {
    let mut account = opened(100, 60);
    account.confirm(&landed(1, 50));
    for name in [1, 2] {
        assert_eq!(account.grant(0, &request(name, 60)), refused(GrantRefusal::NonceUsed));
    }
    account.finalise(&landed(1, 50));
    for name in [1, 2] {
        assert_eq!(account.grant(0, &request(name, 60)), refused(GrantRefusal::NonceUsed));
    }
    expect_balances(&account, 50, 0, 50, 0);
}

#[test]
fn a_closing_attempt_takes_neither_repeat_nor_bump_and_keeps_its_points() {
    let mut account = opened(100, 60);
    assert!(account.close(0));
    assert!(!account.close(0), "it is closed already");
    for name in [1, 2] {
        assert_eq!(account.grant(0, &request(name, 60)), refused(GrantRefusal::Closing));
    }
    expect_balances(&account, 40, 60, 0, 0);
}

#[test]
fn a_closing_attempt_still_settles_and_still_releases() {
    let mut landed_after_all = opened(100, 60);
    landed_after_all.close(0);
    landed_after_all.confirm(&landed(1, 50));
    landed_after_all.finalise(&landed(1, 50));
    expect_balances(&landed_after_all, 50, 0, 50, 0);

    let mut gone = opened(100, 60);
    gone.close(0);
    assert_eq!(gone.cancel(0, &release_proof(slot(0), PAST)), CancelOutcome::Released);
    assert_eq!(gone.grant(0, &request(1, 60)), GRANTED);
    assert!(!gone.attempt(0).closing, "the next attempt is a fresh one");
}

#[test]
fn there_is_nothing_to_close_without_an_open_attempt() {
    let mut account = opened(100, 60);
    assert!(!account.close(1), "nothing");
    account.confirm(&landed(1, 50));
    assert!(!account.close(0), "provisional");
    account.finalise(&landed(1, 50));
    assert!(!account.close(0), "final");

    let mut released = opened(100, 60);
    released.cancel(0, &release_proof(slot(0), PAST));
    assert!(!released.close(0), "released");
}

#[test]
fn a_cancel_of_nothing_does_nothing() {
    let mut account = Account::with(100);
    assert_eq!(account.cancel(0, &release_proof(slot(0), PAST)), CancelOutcome::Replayed);
    assert!(account.sponsorships.is_empty());
}

#[test]
fn a_cancel_past_every_window_returns_everything_once() {
    let mut account = opened(100, 60);
    assert_eq!(account.cancel(0, &release_proof(slot(0), PAST)), CancelOutcome::Released);
    expect_balances(&account, 100, 0, 0, 0);
    assert_eq!(account.cancel(0, &release_proof(slot(0), PAST)), CancelOutcome::Replayed);
    expect_balances(&account, 100, 0, 0, 0);
}

#[test]
fn a_block_at_the_very_end_of_the_window_is_not_past_it() {
    let mut account = opened(100, 60);
    let last = HEAD + VALIDITY;
    assert_eq!(account.cancel(0, &release_proof(slot(0), last)), CancelOutcome::NotYet);
    expect_balances(&account, 40, 60, 0, 0);
}

#[test]
fn a_grant_added_after_a_proof_voids_the_proof() {
    let mut account = opened(100, 60);
    let proof = release_proof(slot(0), PAST);
    let later = request_at(2, 60, HEAD + 30);
    assert_eq!(account.grant(0, &later), GRANTED);
    assert_eq!(account.cancel(0, &proof), CancelOutcome::NotYet);
    expect_balances(&account, 40, 60, 0, 0);
    let past_both = release_proof(slot(0), HEAD + 30 + VALIDITY + 1);
    assert_eq!(account.cancel(0, &past_both), CancelOutcome::Released);
}

#[test]
fn the_longest_window_counts_whichever_grant_has_it() {
    let mut account = Account::with(100);
    let late_first = request_at(1, 60, HEAD + 500);
    assert_eq!(account.grant(0, &late_first), GRANTED);
    assert_eq!(account.grant(0, &request(2, 60)), GRANTED);
    assert_eq!(account.cancel(0, &release_proof(slot(0), PAST)), CancelOutcome::NotYet);
}

#[test]
fn cancel_after_a_landing_is_refused_and_returns_nothing() {
    let mut account = opened(100, 60);
    account.confirm(&landed(1, 50));
    let proof = release_proof(slot(0), u64::MAX);
    assert_eq!(account.cancel(0, &proof), CancelOutcome::AlreadySettled);
    expect_balances(&account, 40, 10, 50, 0);
    account.finalise(&landed(1, 50));
    assert_eq!(account.cancel(0, &proof), CancelOutcome::AlreadySettled);
    expect_balances(&account, 50, 0, 50, 0);
}

#[test]
fn expired_and_final_the_same_nonce_can_be_sponsored_again() {
    let mut account = opened(60, 60);
    for attempt in 2..=5 {
        let past = HEAD + u64::from(attempt - 1) * 1_000;
        let proof = release_proof(slot(0), past);
        assert_eq!(account.cancel(0, &proof), CancelOutcome::Released);
        assert_eq!(account.grant(0, &request_at(1, 60, past)), GRANTED);
        assert_eq!(account.attempt(0).attempt, attempt);
        assert_eq!(account.attempt(0).grants.len(), 1, "an attempt has grants of its own");
        expect_balances(&account, 0, 60, 0, 0);
    }
}

#[test]
fn a_repeat_of_a_released_request_opens_the_next_attempt_or_is_refused() {
    let mut account = opened(100, 60);
    account.cancel(0, &release_proof(slot(0), PAST));
    account.debit(50).unwrap();
    assert_eq!(account.grant(0, &request(1, 60)), insufficient(50, 60));
    assert_eq!(*account.state(0), SponsorshipState::Released);
    assert_eq!(account.attempt(0).attempt, 1);
    expect_balances(&account, 50, 0, 0, 0);
}
