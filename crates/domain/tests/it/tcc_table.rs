//! Every cell of the TCC table, and what must not happen to a biz id.

use domain::ledger::tcc::{DbTime, TccCommand, TccOutcome, TccRefusal, TccState, TccTerms};

use crate::account::{Account, expect_balances};
use crate::fixtures::{confirm_of, micro, terms, try_for};

const BIZ: u8 = 1;

const ALL: TccCommand = TccCommand::Confirm { amount: None };
const CANCEL: TccCommand = TccCommand::Cancel;

fn refused(refusal: TccRefusal) -> TccOutcome {
    TccOutcome::Refused(refusal)
}

fn insufficient(available: u64, requested: u64) -> TccOutcome {
    refused(TccRefusal::InsufficientPoints {
        available: micro(available),
        requested: micro(requested),
    })
}

fn tried(available: u64, amount: u64) -> Account {
    let mut account = Account::with(available);
    assert_eq!(account.tcc(BIZ, &try_for(amount)), TccOutcome::Applied);
    account
}

fn settled(available: u64, amount: u64, spent: u64) -> Account {
    let mut account = tried(available, amount);
    assert_eq!(account.tcc(BIZ, &confirm_of(spent)), TccOutcome::Applied);
    account
}

fn released(available: u64, amount: u64) -> Account {
    let mut account = tried(available, amount);
    assert_eq!(account.tcc(BIZ, &CANCEL), TccOutcome::Applied);
    account
}

fn rejected(available: u64, amount: u64) -> Account {
    let mut account = Account::with(available);
    assert_eq!(account.tcc(BIZ, &try_for(amount)), insufficient(available, amount));
    account
}

/// The command gets this answer and changes neither the balances nor the reservation.
#[track_caller]
fn answers_and_changes_nothing(mut account: Account, command: &TccCommand, answer: &TccOutcome) {
    let (balances, reservation) = (account.balances(), account.biz.get(&BIZ).copied());
    for _ in 0..2 {
        assert_eq!(account.tcc(BIZ, command), *answer);
        assert_eq!(account.balances(), balances);
        assert_eq!(account.biz.get(&BIZ).copied(), reservation);
        account.check_books();
    }
}

#[test]
fn a_first_try_sets_its_points_aside() {
    expect_balances(&tried(100, 60), 40, 60, 0, 0);
}

#[test]
fn a_try_may_take_the_last_point() {
    expect_balances(&tried(100, 100), 0, 100, 0, 0);
}

#[test]
fn a_try_of_too_much_is_refused_and_remembered() {
    let account = rejected(100, 101);
    expect_balances(&account, 100, 0, 0, 0);
    assert_eq!(account.biz[&BIZ].state, TccState::Rejected { available: micro(100) });
}

#[test]
fn a_try_of_nothing_is_refused_and_forgotten() {
    let mut account = Account::with(100);
    assert_eq!(account.tcc(BIZ, &try_for(0)), refused(TccRefusal::ZeroAmount));
    assert!(account.biz.is_empty());
    assert_eq!(account.tcc(BIZ, &try_for(1)), TccOutcome::Applied);
}

#[test]
fn an_unknown_biz_id_older_than_the_memory_is_too_old() {
    let mut account = Account::with(100);
    let at = |issued_at| TccCommand::Try { terms: terms(10), issued_at, oldest: DbTime(50) };
    assert_eq!(account.tcc(BIZ, &at(DbTime(49))), refused(TccRefusal::TooOld));
    assert!(account.biz.is_empty());
    assert_eq!(account.tcc(BIZ, &at(DbTime(50))), TccOutcome::Applied);
}

#[test]
fn the_age_of_a_known_biz_id_does_not_matter() {
    let late = TccCommand::Try { terms: terms(60), issued_at: DbTime(0), oldest: DbTime(50) };
    answers_and_changes_nothing(tried(100, 60), &late, &TccOutcome::Replayed);
    answers_and_changes_nothing(settled(100, 60, 60), &late, &TccOutcome::Replayed);
    answers_and_changes_nothing(released(100, 60), &late, &refused(TccRefusal::Cancelled));
}

#[test]
fn a_confirm_of_nothing_is_not_found() {
    for confirm in [ALL, confirm_of(1)] {
        answers_and_changes_nothing(Account::with(100), &confirm, &refused(TccRefusal::NotFound));
    }
}

#[test]
fn a_cancel_before_the_try_keeps_the_late_try_out() {
    let mut account = Account::with(100);
    assert_eq!(account.tcc(BIZ, &CANCEL), TccOutcome::Applied);
    expect_balances(&account, 100, 0, 0, 0);
    assert_eq!(account.biz[&BIZ].state, TccState::Released);
    answers_and_changes_nothing(account, &try_for(60), &refused(TccRefusal::Cancelled));
}

#[test]
fn a_tombstone_refuses_a_confirm_and_replays_a_cancel() {
    let tombstone = || {
        let mut account = Account::with(100);
        account.tcc(BIZ, &CANCEL);
        account
    };
    answers_and_changes_nothing(tombstone(), &ALL, &refused(TccRefusal::Cancelled));
    answers_and_changes_nothing(tombstone(), &confirm_of(1), &refused(TccRefusal::Cancelled));
    answers_and_changes_nothing(tombstone(), &CANCEL, &TccOutcome::Replayed);
}

#[test]
fn a_second_try_of_an_open_biz_id_is_a_replay() {
    answers_and_changes_nothing(tried(100, 60), &try_for(60), &TccOutcome::Replayed);
}

#[test]
fn a_confirm_spends_its_amount_and_returns_the_rest() {
    expect_balances(&settled(100, 60, 25), 75, 0, 25, 0);
}

#[test]
fn a_confirm_without_an_amount_spends_all() {
    let mut account = tried(100, 60);
    assert_eq!(account.tcc(BIZ, &ALL), TccOutcome::Applied);
    expect_balances(&account, 40, 0, 60, 0);
    answers_and_changes_nothing(account, &confirm_of(60), &TccOutcome::Replayed);
}

#[test]
fn a_confirm_of_zero_returns_everything_and_is_settled() {
    let account = settled(100, 60, 0);
    expect_balances(&account, 100, 0, 0, 0);
    assert_eq!(account.biz[&BIZ].state, TccState::Settled { amount: micro(0) });
}

#[test]
fn a_confirm_of_more_than_was_reserved_is_refused_and_leaves_it_open() {
    let exceeds =
        refused(TccRefusal::ExceedsReserved { reserved: micro(60), requested: micro(61) });
    answers_and_changes_nothing(tried(100, 60), &confirm_of(61), &exceeds);
}

#[test]
fn a_cancel_of_an_open_biz_id_returns_everything() {
    expect_balances(&released(100, 60), 100, 0, 0, 0);
}

#[test]
fn a_try_of_a_settled_biz_id_is_a_replay() {
    answers_and_changes_nothing(settled(100, 60, 25), &try_for(60), &TccOutcome::Replayed);
}

#[test]
fn the_same_confirm_twice_settles_once() {
    answers_and_changes_nothing(settled(100, 60, 25), &confirm_of(25), &TccOutcome::Replayed);
}

#[test]
fn another_confirm_of_a_settled_biz_id_is_a_conflict() {
    let conflict = refused(TccRefusal::Conflict { fields: vec!["amount"] });
    answers_and_changes_nothing(settled(100, 60, 25), &confirm_of(26), &conflict);
    answers_and_changes_nothing(settled(100, 60, 25), &ALL, &conflict);
    answers_and_changes_nothing(settled(100, 60, 25), &confirm_of(1_000), &conflict);
}

#[test]
fn cancel_after_confirm_is_refused_and_returns_nothing() {
    let already = refused(TccRefusal::AlreadySettled { settled: micro(25) });
    answers_and_changes_nothing(settled(100, 60, 25), &CANCEL, &already);
}

#[test]
fn a_try_or_confirm_of_a_released_biz_id_is_refused() {
    let cancelled = refused(TccRefusal::Cancelled);
    answers_and_changes_nothing(released(100, 60), &try_for(60), &cancelled);
    answers_and_changes_nothing(released(100, 60), &confirm_of(60), &cancelled);
    answers_and_changes_nothing(released(100, 60), &ALL, &cancelled);
}

#[test]
fn a_hold_cancelled_twice_is_returned_once() {
    answers_and_changes_nothing(released(100, 60), &CANCEL, &TccOutcome::Replayed);
}

#[test]
fn a_rejected_try_is_refused_again_after_a_credit() {
    let mut account = rejected(100, 101);
    account.credit(1_000).unwrap();
    answers_and_changes_nothing(account, &try_for(101), &insufficient(100, 101));
}

#[test]
fn a_confirm_of_a_rejected_try_is_refused() {
    let rejection = refused(TccRefusal::Rejected);
    answers_and_changes_nothing(rejected(100, 101), &ALL, &rejection);
    answers_and_changes_nothing(rejected(100, 101), &confirm_of(1), &rejection);
}

#[test]
fn a_cancel_of_a_rejected_try_succeeds_and_does_nothing() {
    answers_and_changes_nothing(rejected(100, 101), &CANCEL, &TccOutcome::Replayed);
}

#[test]
fn the_same_biz_id_with_other_terms_names_what_differs() {
    let expiring = |amount| TccCommand::Try {
        terms: TccTerms { amount: micro(amount), expires_at: Some(DbTime(200)) },
        issued_at: DbTime(100),
        oldest: DbTime(0),
    };
    for account in [tried, released] {
        for (command, fields) in [
            (try_for(61), vec!["amount"]),
            (expiring(60), vec!["expiresAt"]),
            (expiring(61), vec!["amount", "expiresAt"]),
        ] {
            let conflict = refused(TccRefusal::Conflict { fields });
            answers_and_changes_nothing(account(100, 60), &command, &conflict);
        }
    }
    let conflict = refused(TccRefusal::Conflict { fields: vec!["amount"] });
    answers_and_changes_nothing(rejected(100, 101), &try_for(50), &conflict);
}

#[test]
fn biz_ids_do_not_see_each_other() {
    let mut account = tried(100, 60);
    assert_eq!(account.tcc(2, &try_for(41)), insufficient(40, 41));
    assert_eq!(account.tcc(3, &try_for(40)), TccOutcome::Applied);
    expect_balances(&account, 0, 100, 0, 0);
}

fn expiring_at_200() -> Account {
    let mut account = Account::with(100);
    let command = TccCommand::Try {
        terms: TccTerms { amount: micro(60), expires_at: Some(DbTime(200)) },
        issued_at: DbTime(100),
        oldest: DbTime(0),
    };
    assert_eq!(account.tcc(BIZ, &command), TccOutcome::Applied);
    account
}

const fn sweep(now: i64) -> TccCommand {
    TccCommand::Expire { now: DbTime(now) }
}

#[test]
fn the_sweeper_returns_the_points_from_the_expiry_on() {
    answers_and_changes_nothing(expiring_at_200(), &sweep(199), &TccOutcome::Replayed);
    let mut account = expiring_at_200();
    assert_eq!(account.tcc(BIZ, &sweep(200)), TccOutcome::Applied);
    expect_balances(&account, 100, 0, 0, 0);
    answers_and_changes_nothing(account, &ALL, &refused(TccRefusal::Cancelled));
}

#[test]
fn a_hold_can_be_confirmed_until_the_sweeper_has_come() {
    let mut account = expiring_at_200();
    assert_eq!(account.tcc(BIZ, &ALL), TccOutcome::Applied);
    answers_and_changes_nothing(account, &sweep(i64::MAX), &TccOutcome::Replayed);
}

#[test]
fn the_sweeper_leaves_alone_what_does_not_expire() {
    answers_and_changes_nothing(tried(100, 60), &sweep(i64::MAX), &TccOutcome::Replayed);
    answers_and_changes_nothing(released(100, 60), &sweep(i64::MAX), &TccOutcome::Replayed);
    answers_and_changes_nothing(rejected(100, 101), &sweep(i64::MAX), &TccOutcome::Replayed);
    answers_and_changes_nothing(Account::with(100), &sweep(i64::MAX), &TccOutcome::Replayed);
}
