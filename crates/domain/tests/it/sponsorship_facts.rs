//! The columns of the sponsorship table that the chain commands: confirm, undo and finalise. A chain
//! fact is never refused.

use alloy_primitives::U256;
use domain::Wei;
use domain::ledger::sponsorship::{
    CancelOutcome, FactOutcome, GrantOutcome, SetAside, SponsorshipState, Unsettled,
};

use crate::account::{Account, expect_balances};
use crate::fixtures::{
    HEAD, VALIDITY, landed, landed_again, landing, micro, release_proof, request, seen, slot, wei,
};

const APPLIED: FactOutcome = FactOutcome::Applied;
const REPLAYED: FactOutcome = FactOutcome::Replayed;

const fn aside(reason: SetAside) -> FactOutcome {
    FactOutcome::SetAside(reason)
}

fn short(from_available: u64, from_debt: u64) -> FactOutcome {
    FactOutcome::AppliedWithShortage {
        from_available: micro(from_available),
        from_debt: micro(from_debt),
    }
}

/// 100 points, of which 60 are reserved.
fn opened() -> Account {
    let mut account = Account::with(100);
    assert_eq!(account.grant(0, &request(1, 60)), GrantOutcome::Granted);
    account
}

/// The same, and the operation has cost 50 of them in block 1.
fn provisional() -> Account {
    let mut account = opened();
    assert_eq!(account.confirm(&landed(1, 50)), APPLIED);
    account
}

fn finalised() -> Account {
    let mut account = provisional();
    assert_eq!(account.finalise(&landed(1, 50)), APPLIED);
    account
}

fn released() -> Account {
    let mut account = opened();
    let proof = release_proof(slot(0), HEAD + VALIDITY + 1);
    assert_eq!(account.cancel(0, &proof), CancelOutcome::Released);
    account
}

#[derive(Clone, Copy)]
enum Told {
    Confirm,
    Undo,
    Finalise,
}

fn tell(account: &mut Account, told: Told, fact: &domain::chain_fact::ChainFact) -> FactOutcome {
    match told {
        Told::Confirm => account.confirm(fact),
        Told::Undo => account.undo(fact),
        Told::Finalise => account.finalise(fact),
    }
}

#[test]
fn a_fact_about_an_unknown_slot_is_set_aside_and_its_undo_is_nothing() {
    let mut account = Account::with(100);
    let unknown = aside(SetAside::UnknownOperation);
    assert_eq!(account.confirm(&landed(1, 50)), unknown);
    assert_eq!(account.finalise(&landed(1, 50)), unknown);
    assert_eq!(account.undo(&landed(1, 50)), REPLAYED);
    assert!(account.sponsorships.is_empty());
    expect_balances(&account, 100, 0, 0, 0);
}

#[test]
fn at_the_head_only_the_cost_moves() {
    let account = provisional();
    assert!(matches!(account.state(0), SponsorshipState::Provisional(_)));
    expect_balances(&account, 40, 10, 50, 0);
}

#[test]
fn a_reverted_operation_is_charged_like_any_other() {
    let mut event = *landed(1, 50).event();
    event.success = false;
    #[expect(clippy::disallowed_methods, reason = "this test stands in for the block ingester")]
    let reverted = domain::chain_fact::ChainFact::from_ingested(event);
    let mut account = opened();
    assert_eq!(account.confirm(&reverted), APPLIED);
    assert_eq!(account.finalise(&reverted), APPLIED);
    expect_balances(&account, 50, 0, 50, 0);
}

#[test]
fn the_hash_is_evidence_and_not_the_key() {
    let mut event = *landed(1, 50).event();
    event.user_op_hash = alloy_primitives::B256::repeat_byte(0x66);
    #[expect(clippy::disallowed_methods, reason = "this test stands in for the block ingester")]
    let other_hash = domain::chain_fact::ChainFact::from_ingested(event);
    let mut account = opened();
    assert_eq!(account.confirm(&other_hash), APPLIED);
    expect_balances(&account, 40, 10, 50, 0);
}

#[test]
fn the_rest_returns_only_when_the_block_is_final() {
    expect_balances(&provisional(), 40, 10, 50, 0);
    expect_balances(&finalised(), 50, 0, 50, 0);
}

#[test]
fn the_same_landing_settles_once() {
    let mut account = provisional();
    assert_eq!(account.confirm(&landed(1, 50)), REPLAYED);
    expect_balances(&account, 40, 10, 50, 0);
    let mut account = finalised();
    assert_eq!(account.confirm(&landed(1, 50)), REPLAYED);
    assert_eq!(account.finalise(&landed(1, 50)), REPLAYED);
    expect_balances(&account, 50, 0, 50, 0);
}

#[test]
fn a_landing_elsewhere_while_the_old_block_stands_is_set_aside() {
    let elsewhere = aside(SetAside::SettledElsewhere);
    for mut account in [provisional(), finalised()] {
        let before = account.balances();
        for other in [landed(2, 40), landing(slot(0), seen(1, 1, 1), wei(50))] {
            assert_eq!(account.confirm(&other), elsewhere);
            assert_eq!(account.finalise(&other), elsewhere);
            assert_eq!(account.undo(&other), REPLAYED);
        }
        assert_eq!(account.balances(), before);
        account.check_books();
    }
}

#[test]
fn an_undo_gives_back_what_the_landing_took_and_the_attempt_is_open_again() {
    let mut account = provisional();
    assert_eq!(account.undo(&landed(1, 50)), APPLIED);
    assert_eq!(*account.state(0), SponsorshipState::Open);
    expect_balances(&account, 40, 60, 0, 0);
    assert_eq!(account.undo(&landed(1, 50)), REPLAYED);
    expect_balances(&account, 40, 60, 0, 0);
}

#[test]
fn after_an_undo_the_operation_lands_elsewhere_at_another_cost() {
    let mut account = provisional();
    account.undo(&landed(1, 50));
    assert_eq!(account.confirm(&landed(2, 45)), APPLIED);
    assert_eq!(account.finalise(&landed(2, 45)), APPLIED);
    expect_balances(&account, 55, 0, 45, 0);
}

#[test]
fn after_an_undo_the_attempt_can_be_bumped_and_released() {
    let mut account = provisional();
    account.undo(&landed(1, 50));
    assert_eq!(account.grant(0, &request(2, 70)), GrantOutcome::Granted);
    expect_balances(&account, 30, 70, 0, 0);
    let proof = release_proof(slot(0), HEAD + VALIDITY + 1);
    assert_eq!(account.cancel(0, &proof), CancelOutcome::Released);
    expect_balances(&account, 100, 0, 0, 0);
}

#[test]
fn an_undo_finds_its_points_although_all_else_was_spent() {
    let mut account = provisional();
    account.debit(40).unwrap();
    expect_balances(&account, 0, 10, 50, 0);
    assert_eq!(account.undo(&landed(1, 50)), APPLIED);
    expect_balances(&account, 0, 60, 0, 0);
}

#[test]
fn an_undo_of_a_final_landing_is_set_aside_as_a_named_halt() {
    let mut account = finalised();
    assert_eq!(account.undo(&landed(1, 50)), aside(SetAside::UndoAfterFinal));
    expect_balances(&account, 50, 0, 50, 0);
}

#[test]
fn an_undo_of_what_never_settled_changes_nothing() {
    for mut account in [opened(), released()] {
        let before = account.balances();
        assert_eq!(account.undo(&landed(1, 50)), REPLAYED);
        assert_eq!(account.balances(), before);
    }
}

#[test]
fn finality_of_what_never_settled_is_set_aside() {
    for mut account in [opened(), released()] {
        let before = account.balances();
        assert_eq!(account.finalise(&landed(1, 50)), aside(SetAside::FinalBeforeSettled));
        assert_eq!(account.balances(), before);
    }
}

#[test]
fn a_block_that_comes_back_before_its_undo_was_applied_stays_settled() {
    let mut account = provisional();
    assert_eq!(account.confirm(&landed_again(1, 50)), APPLIED);
    expect_balances(&account, 40, 10, 50, 0);
    assert_eq!(account.undo(&landed(1, 50)), REPLAYED, "the undo of the first visit is late");
    expect_balances(&account, 40, 10, 50, 0);
    assert_eq!(account.confirm(&landed(1, 50)), REPLAYED, "so is its confirm");
    assert_eq!(account.undo(&landed_again(1, 50)), APPLIED);
    expect_balances(&account, 40, 60, 0, 0);
}

#[test]
fn a_block_that_comes_back_after_its_undo_settles_again() {
    let mut account = provisional();
    account.undo(&landed(1, 50));
    assert_eq!(account.confirm(&landed_again(1, 50)), APPLIED);
    assert_eq!(account.finalise(&landed_again(1, 50)), APPLIED);
    expect_balances(&account, 50, 0, 50, 0);
}

#[test]
fn finality_counts_for_the_block_whichever_visit_settled_it() {
    let mut account = provisional();
    account.confirm(&landed_again(1, 50));
    assert_eq!(account.finalise(&landed_again(1, 50)), APPLIED);
    assert_eq!(account.undo(&landed(1, 50)), REPLAYED);
    expect_balances(&account, 50, 0, 50, 0);
}

#[test]
fn a_landing_that_costs_more_than_was_held_takes_the_rest_from_available_and_lends_what_lacks() {
    let mut account = opened();
    assert_eq!(account.confirm(&landed(1, 80)), short(20, 0));
    expect_balances(&account, 20, 0, 80, 0);
    assert_eq!(account.undo(&landed(1, 80)), APPLIED);
    expect_balances(&account, 40, 60, 0, 0);

    assert_eq!(account.confirm(&landed(2, 130)), short(40, 30));
    expect_balances(&account, 0, 0, 130, 30);
    assert_eq!(account.undo(&landed(2, 130)), APPLIED);
    expect_balances(&account, 40, 60, 0, 0);
}

#[test]
fn a_late_landing_is_taken_from_available_and_returns_nothing_when_final() {
    let mut account = released();
    assert_eq!(account.confirm(&landed(1, 50)), short(50, 0));
    expect_balances(&account, 50, 0, 50, 0);
    assert_eq!(account.finalise(&landed(1, 50)), APPLIED);
    expect_balances(&account, 50, 0, 50, 0);
}

#[test]
fn a_late_landing_that_finds_too_little_is_lent_and_the_next_credit_repays() {
    let mut account = released();
    account.debit(70).unwrap();
    assert_eq!(account.confirm(&landed(1, 50)), short(30, 20));
    expect_balances(&account, 0, 0, 50, 20);
    account.credit(15).unwrap();
    expect_balances(&account, 0, 0, 50, 5);
    account.credit(15).unwrap();
    expect_balances(&account, 10, 0, 50, 0);
}

#[test]
fn an_undone_late_landing_is_released_again_and_gives_back_exactly() {
    let mut account = released();
    account.debit(70).unwrap();
    account.confirm(&landed(1, 50));
    assert_eq!(account.undo(&landed(1, 50)), APPLIED);
    assert_eq!(*account.state(0), SponsorshipState::Released);
    expect_balances(&account, 30, 0, 0, 0);
}

#[test]
fn an_undo_after_the_debt_was_repaid_gives_the_repayment_back_to_the_user() {
    let mut account = opened();
    assert_eq!(account.confirm(&landed(1, 130)), short(40, 30));
    account.credit(10).unwrap();
    expect_balances(&account, 0, 0, 130, 20);
    account.credit(100).unwrap();
    expect_balances(&account, 80, 0, 130, 0);
    assert_eq!(account.undo(&landed(1, 130)), APPLIED);
    expect_balances(&account, 150, 60, 0, 0);
}

#[test]
fn an_undo_after_part_of_the_debt_was_repaid_forgives_the_rest() {
    let mut account = opened();
    account.confirm(&landed(1, 130));
    account.credit(10).unwrap();
    assert_eq!(account.undo(&landed(1, 130)), APPLIED);
    expect_balances(&account, 50, 60, 0, 0);
}

#[test]
fn a_late_landing_after_the_next_attempt_opened_is_paid_by_that_attempt() {
    let mut account = released();
    assert_eq!(account.grant(0, &request(1, 60)), GrantOutcome::Granted);
    assert_eq!(account.confirm(&landed(1, 50)), APPLIED);
    let SponsorshipState::Provisional(settlement) = account.state(0) else {
        panic!("the landing settles the slot");
    };
    assert_eq!(settlement.before, Unsettled::Open);
    expect_balances(&account, 40, 10, 50, 0);
}

#[test]
fn a_cost_beyond_points_is_set_aside_and_the_attempt_stays_open() {
    let mut account = opened();
    let absurd = landing(slot(0), seen(1, 0, 1), Wei(U256::MAX));
    assert_eq!(account.confirm(&absurd), aside(SetAside::CostOutOfRange));
    assert_eq!(*account.state(0), SponsorshipState::Open);
    expect_balances(&account, 40, 60, 0, 0);
}

#[test]
fn a_cost_that_the_columns_cannot_hold_is_set_aside() {
    let mut account = provisional();
    assert_eq!(account.grant(1, &request(1, 10)), GrantOutcome::Granted);
    let most = u64::try_from(i64::MAX).unwrap();
    let absurd = landing(slot(1), seen(2, 0, 1), wei(most));
    assert_eq!(account.confirm(&absurd), aside(SetAside::CostOutOfRange));
    expect_balances(&account, 30, 20, 50, 0);
}

#[test]
fn a_fact_told_many_times_counts_once() {
    let mut account = opened();
    for (told, balances) in [(Told::Confirm, (40, 10, 50, 0)), (Told::Undo, (40, 60, 0, 0))] {
        for _ in 0..3 {
            tell(&mut account, told, &landed(1, 50));
        }
        let (available, reserved, spent, debt) = balances;
        expect_balances(&account, available, reserved, spent, debt);
    }
    for told in [Told::Confirm, Told::Confirm, Told::Finalise, Told::Finalise, Told::Confirm] {
        tell(&mut account, told, &landed(2, 50));
    }
    expect_balances(&account, 50, 0, 50, 0);
}
