//! Credits and debits.

use alloy_primitives::keccak256;
use domain::ledger::funds::FundsRefusal;
use store::funds::{Direction, FundsOutcome, Movement};
use tokio::task::JoinSet;

use crate::Company;
use crate::builder::{User, micro};
use crate::chain::{Chain, landing};

fn applied(outcome: FundsOutcome) -> Movement {
    let FundsOutcome::Applied(movement) = outcome else { panic!("not applied: {outcome:?}") };
    movement
}

#[tokio::test]
async fn credits_and_debits_move_what_is_available() {
    let company = Company::new().await;
    let ann = company.user("ann", 0).await;
    let credit = applied(ann.credit(100, "welcome").await);
    assert_eq!((credit.available_after, credit.entry_seq), (micro(100), 1));
    let debit = applied(ann.debit(30, "mug").await);
    assert_eq!((debit.available_after, debit.entry_seq), (micro(70), 2));
    assert_eq!(ann.balances().await, [70, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_repeat_by_reference_is_a_replay_of_the_first_answer() {
    let company = Company::new().await;
    let ann = company.user("ann", 0).await;
    let first = applied(ann.credit(100, "welcome").await);
    ann.debit(30, "mug").await;
    assert_eq!(ann.credit(100, "welcome").await, FundsOutcome::Replayed(first.clone()));
    let mut another_key = ann.movement(Direction::Credit, 100, "welcome");
    another_key.keyed.key = "another".parse().unwrap();
    let again = company.store.move_funds(&another_key).await.unwrap();
    assert_eq!(again, FundsOutcome::Replayed(first));
    assert_eq!(ann.balances().await, [70, 0, 0, 0]);
    assert_eq!(company.count("SELECT count(*) FROM command_keys").await, 3);
    company.finish().await;
}

#[tokio::test]
async fn a_reference_with_other_values_is_a_conflict_that_names_the_fields() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    ann.credit(10, "welcome").await;
    let mut other = ann.movement(Direction::Debit, 11, "welcome");
    other.keyed.key = "another".parse().unwrap();
    other.reason = "another".to_owned();
    let conflict = company.store.move_funds(&other).await.unwrap();
    assert_eq!(conflict, FundsOutcome::Conflict(vec!["direction", "amount", "reason"]));
    assert_eq!(ann.balances().await, [110, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_key_with_another_body_is_refused() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let first = ann.movement(Direction::Credit, 10, "first");
    applied(company.store.move_funds(&first).await.unwrap());
    let mut second = ann.movement(Direction::Credit, 10, "second");
    second.keyed.key = first.keyed.key.clone();
    assert_eq!(company.store.move_funds(&second).await.unwrap(), FundsOutcome::KeyReused);
    assert_eq!(ann.balances().await, [110, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_key_of_another_command_is_refused_even_with_the_same_hash() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let first = ann.movement(Direction::Credit, 10, "first");
    applied(company.store.move_funds(&first).await.unwrap());
    for direction in [Direction::Credit, Direction::Debit] {
        let mut second = ann.movement(direction, 10, "second");
        second.keyed = first.keyed.clone();
        assert_eq!(company.store.move_funds(&second).await.unwrap(), FundsOutcome::KeyReused);
    }
    assert_eq!(ann.balances().await, [110, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn the_same_key_and_reference_belong_to_each_account_alone() {
    let company = Company::new().await;
    let (ann, bob) = (company.user("ann", 0).await, company.user("bob", 0).await);
    applied(ann.credit(10, "welcome").await);
    applied(bob.credit(20, "welcome").await);
    assert_eq!((ann.balances().await, bob.balances().await), ([10, 0, 0, 0], [20, 0, 0, 0]));
    company.finish().await;
}

#[tokio::test]
async fn a_debit_of_too_much_is_refused_and_forgotten() {
    let company = Company::new().await;
    let ann = company.user("ann", 20).await;
    let refusal = FundsRefusal::InsufficientPoints { available: micro(20), requested: micro(30) };
    assert_eq!(ann.debit(30, "mug").await, FundsOutcome::Refused(refusal));
    ann.credit(10, "more").await;
    applied(ann.debit(30, "mug").await);
    assert_eq!(ann.balances().await, [0, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn an_amount_of_nothing_and_one_beyond_the_ledger_are_refused() {
    let company = Company::new().await;
    let ann = company.user("ann", 1).await;
    assert_eq!(ann.credit(0, "zero").await, FundsOutcome::Refused(FundsRefusal::ZeroAmount));
    let largest = i64::MAX.unsigned_abs();
    let outcome = ann.credit(largest, "all").await;
    assert_eq!(outcome, FundsOutcome::Refused(FundsRefusal::BalanceTooLarge));
    applied(ann.credit(largest - 1, "almost all").await);
    assert_eq!(ann.balances().await, [largest, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn an_account_that_does_not_exist_is_named_as_such() {
    let company = Company::new().await;
    let mut nobody = company.user("ann", 0).await;
    nobody.account = domain::AccountId(sqlx::types::Uuid::now_v7());
    assert_eq!(nobody.credit(1, "welcome").await, FundsOutcome::NoAccount);
    company.finish().await;
}

/// Ann owes 20: her operation held 10 and cost 30, and she had nothing else.
async fn in_debt(company: &Company) -> User {
    let ann = company.user("ann", 10).await;
    ann.operation(1, 10).granted().await;
    let mut chain = Chain::start(&company.store).await;
    chain.mine(&[landing(&ann, 1, 30)]).await;
    chain.apply().await;
    assert_eq!(ann.balances().await, [0, 0, 30, 20]);
    ann
}

#[tokio::test]
async fn a_credit_repays_what_is_owed_first() {
    let company = Company::new().await;
    let ann = in_debt(&company).await;
    let part = applied(ann.credit(15, "part").await);
    assert_eq!((part.available_after, part.debt_after), (micro(0), micro(5)));
    let rest = applied(ann.credit(15, "rest").await);
    assert_eq!((rest.available_after, rest.debt_after), (micro(10), micro(0)));
    assert_eq!(ann.credit(15, "part").await, FundsOutcome::Replayed(part));
    assert_eq!(ann.balances().await, [10, 0, 30, 0]);
    company.finish().await;
}

#[tokio::test]
async fn the_journal_pages_from_the_newest_line_without_gaps() {
    let company = Company::new().await;
    let ann = company.user("ann", 0).await;
    for number in 1..=5 {
        ann.credit(number, &format!("credit {number}")).await;
    }
    let page = company.store.entries(ann.tenant, ann.account, None, 2).await.unwrap();
    assert_eq!(page.iter().map(|line| line.seq).collect::<Vec<_>>(), [5, 4]);
    assert_eq!(page[0].reference.as_deref(), Some("credit 5"));
    assert_eq!(page[1].balances.available, micro(10));
    let rest = company.store.entries(ann.tenant, ann.account, Some(4), 100).await.unwrap();
    assert_eq!(rest.iter().map(|line| line.seq).collect::<Vec<_>>(), [3, 2, 1]);
    company.finish().await;
}

#[tokio::test]
async fn credits_and_debits_at_once_lose_nothing() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut tasks = JoinSet::new();
    for number in 1..=40_u64 {
        let ann = ann.clone();
        tasks.spawn(async move {
            match number % 2 {
                0 => applied(ann.credit(number, &format!("credit {number}")).await),
                _ => applied(ann.debit(number, &format!("debit {number}")).await),
            }
        });
    }
    // The even numbers up to 40 are 20 more than the odd ones.
    assert_eq!(tasks.join_all().await.len(), 40);
    assert_eq!(ann.balances().await, [1_020, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn one_credit_sent_ten_times_at_once_counts_once() {
    let company = Company::new().await;
    let ann = company.user("ann", 0).await;
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let ann = ann.clone();
        tasks.spawn(async move { ann.credit(10, "welcome").await });
    }
    let outcomes = tasks.join_all().await;
    let count = |wanted: fn(&FundsOutcome) -> bool| outcomes.iter().filter(|o| wanted(o)).count();
    assert_eq!(count(|outcome| matches!(outcome, FundsOutcome::Applied(_))), 1);
    assert_eq!(count(|outcome| matches!(outcome, FundsOutcome::Replayed(_))), 9);
    assert_eq!(ann.balances().await, [10, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn one_name_asked_for_ten_times_at_once_is_one_account() {
    let company = Company::new().await;
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let (store, tenant) = (company.store.clone(), company.tenant);
        tasks.spawn(
            async move { store.ensure_account(tenant, &"ann".parse().unwrap()).await.unwrap() },
        );
    }
    let mut accounts = tasks.join_all().await;
    accounts.dedup();
    assert_eq!(accounts.len(), 1);
    assert_eq!(company.count("SELECT count(*) FROM accounts").await, 1);
    company.finish().await;
}

#[tokio::test]
async fn a_changed_body_under_a_replayed_key_is_still_refused() {
    let company = Company::new().await;
    let ann = company.user("ann", 0).await;
    let mut command = ann.movement(Direction::Credit, 10, "welcome");
    applied(company.store.move_funds(&command).await.unwrap());
    command.keyed.request_hash = keccak256("another body");
    assert_eq!(company.store.move_funds(&command).await.unwrap(), FundsOutcome::KeyReused);
    company.finish().await;
}
