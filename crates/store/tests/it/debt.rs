//! What a user owes after an operation cost more than there was.

use domain::ledger::sponsorship::{FactOutcome, GrantRefusal};
use store::facts::FactStep::Confirm;

use crate::builder::micro;
use crate::chain::landing;
use crate::settlement::scene;

#[tokio::test]
async fn a_debt_refuses_new_sponsorships_until_credits_have_repaid_it() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[landing(&ann, 1, 130)]).await;
    let shortage =
        FactOutcome::AppliedWithShortage { from_available: micro(40), from_debt: micro(30) };
    assert_eq!(chain.apply().await, [(Confirm, shortage)]);
    assert_eq!(ann.balances().await, [0, 0, 130, 30]);

    let refused = |debt| GrantRefusal::DebtAboveCeiling { debt: micro(debt), ceiling: micro(0) };
    assert_eq!(ann.operation(2, 10).refused().await, refused(30));
    ann.credit(20, "a part").await;
    assert_eq!(ann.balances().await, [0, 0, 130, 10]);
    assert_eq!(ann.operation(2, 10).refused().await, refused(10));
    ann.credit(20, "the rest and more").await;
    assert_eq!(ann.balances().await, [10, 0, 130, 0]);
    ann.operation(2, 10).granted().await;
    assert_eq!(ann.balances().await, [0, 10, 130, 0]);
    company.finish().await;
}

#[tokio::test]
async fn what_a_tcc_confirm_returns_to_a_debtor_stays_the_debtors() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    ann.tries("trip", 30).await;
    chain.mine(&[landing(&ann, 1, 80)]).await;
    chain.apply().await;
    assert_eq!(ann.balances().await, [0, 30, 80, 10]);
    ann.confirms("trip", 5).await;
    assert_eq!(ann.balances().await, [25, 0, 85, 10], "only a credit repays");
    let refusal = ann.operation(2, 10).refused().await;
    assert_eq!(refusal, GrantRefusal::DebtAboveCeiling { debt: micro(10), ceiling: micro(0) });
    company.finish().await;
}
