//! Credits and debits.

use domain::Points;
use domain::ledger::funds::FundsRefusal;

use crate::account::{Account, expect_balances};
use crate::fixtures::{landed, micro, request};

#[test]
fn a_credit_is_available() {
    expect_balances(&Account::with(100), 100, 0, 0, 0);
}

#[test]
fn a_debit_takes_what_is_available_and_no_more() {
    let mut account = Account::with(100);
    account.grant(0, &request(1, 60));
    let insufficient =
        FundsRefusal::InsufficientPoints { available: micro(40), requested: micro(41) };
    assert_eq!(account.debit(41), Err(insufficient));
    expect_balances(&account, 40, 60, 0, 0);
    assert_eq!(account.debit(40), Ok(()));
    expect_balances(&account, 0, 60, 0, 0);
}

#[test]
fn an_amount_of_zero_is_refused() {
    let mut account = Account::with(100);
    assert_eq!(account.credit(0), Err(FundsRefusal::ZeroAmount));
    assert_eq!(account.debit(0), Err(FundsRefusal::ZeroAmount));
    assert_eq!(account.head.seq, 1);
}

#[test]
fn an_account_holds_at_most_what_the_database_can() {
    let mut account = Account::with(Points::MAX.micropoints() - 10);
    assert_eq!(account.credit(11), Err(FundsRefusal::BalanceTooLarge));
    account.grant(0, &request(1, 60));
    assert_eq!(account.credit(11), Err(FundsRefusal::BalanceTooLarge));
    account.confirm(&landed(1, 60));
    assert_eq!(account.credit(11), Err(FundsRefusal::BalanceTooLarge));
    assert_eq!(account.credit(10), Ok(()));
    account.undo(&landed(1, 60));
    account.check_books();
}
