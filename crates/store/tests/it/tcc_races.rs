//! TCC commands of two processes that meet: within one process they would share a batch. A connection of
//! the test's holds the account, so that both commands wait for it and are let go together; each race
//! is run several times, because either may come first.

use domain::ledger::tcc::{DbTime, TccOutcome, TccRefusal, TccTerms};
use sqlx::PgConnection;
use store::tcc::TccRequest;

use crate::Company;
use crate::builder::{User, micro, try_for};

use TccOutcome::{Applied, Refused, Replayed};

/// How often each race is run.
const ROUNDS: usize = 6;

pub(crate) async fn hold(connection: &mut PgConnection, user: &User) {
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await.unwrap();
    sqlx::query("SELECT FROM accounts WHERE tenant_id = $1 AND account_id = $2 FOR UPDATE")
        .bind(user.tenant.0)
        .bind(user.account.0)
        .execute(connection)
        .await
        .unwrap();
}

pub(crate) async fn let_go(connection: &mut PgConnection) {
    sqlx::raw_sql("COMMIT").execute(connection).await.unwrap();
}

/// Runs two commands on one biz id so that both are under way before either has the account.
async fn race(
    company: &Company,
    ann: &User,
    biz_id: &str,
    pair: [TccRequest; 2],
) -> [TccOutcome; 2] {
    let mut holder = company.superuser().await;
    hold(&mut holder, ann).await;
    let rival = company.replica(1);
    let [first, second] = pair;
    let [one, other] =
        [(ann.clone(), first), (ann.through(&rival), second)].map(|(ann, request)| {
            let biz_id = biz_id.to_owned();
            tokio::spawn(async move { ann.tcc(&biz_id, request).await })
        });
    company.blocked(2).await;
    let_go(&mut holder).await;
    let outcomes = [one.await.unwrap(), other.await.unwrap()];
    rival.close().await;
    outcomes
}

fn confirm_of(amount: u64) -> TccRequest {
    TccRequest::Confirm { amount: Some(micro(amount)) }
}

#[tokio::test]
async fn the_same_try_twice_at_once_is_one_reservation() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    for round in 0..ROUNDS {
        let outcomes = race(&company, &ann, &format!("trip {round}"), [try_for(60); 2]).await;
        assert!(matches!(outcomes, [Applied, Replayed] | [Replayed, Applied]), "{outcomes:?}");
    }
    assert_eq!(ann.balances().await, [640, 360, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_try_that_meets_its_cancel_never_stays_open() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    for round in 0..ROUNDS {
        let pair = [try_for(60), TccRequest::Cancel];
        let [tried, cancelled] = race(&company, &ann, &format!("trip {round}"), pair).await;
        assert!(tried == Applied || tried == Refused(TccRefusal::Cancelled), "{tried:?}");
        assert_eq!(cancelled, Applied);
        assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn a_confirm_that_meets_a_cancel_leaves_one_winner() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut spent = 0;
    for round in 0..ROUNDS {
        let biz_id = format!("trip {round}");
        ann.tries(&biz_id, 60).await;
        let pair = [confirm_of(45), TccRequest::Cancel];
        match race(&company, &ann, &biz_id, pair).await {
            [Applied, Refused(TccRefusal::AlreadySettled { .. })] => spent += 45,
            [Refused(TccRefusal::Cancelled), Applied] => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(ann.balances().await, [1_000 - spent, 0, spent, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn two_partial_confirms_at_once_settle_one_of_them() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut spent = 0;
    for round in 0..ROUNDS {
        let biz_id = format!("trip {round}");
        ann.tries(&biz_id, 100).await;
        match race(&company, &ann, &biz_id, [confirm_of(30), confirm_of(40)]).await {
            [Applied, Refused(TccRefusal::Conflict { .. })] => spent += 30,
            [Refused(TccRefusal::Conflict { .. }), Applied] => spent += 40,
            other => panic!("{other:?}"),
        }
        assert_eq!(ann.balances().await, [1_000 - spent, 0, spent, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn two_cancels_at_once_return_the_points_once() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    for round in 0..ROUNDS {
        let biz_id = format!("trip {round}");
        ann.tries(&biz_id, 60).await;
        let outcomes = race(&company, &ann, &biz_id, [TccRequest::Cancel; 2]).await;
        assert!(matches!(outcomes, [Applied, Replayed] | [Replayed, Applied]), "{outcomes:?}");
        assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn a_confirm_that_meets_the_sweeper_leaves_one_winner() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut spent = 0;
    for round in 0..ROUNDS {
        let biz_id = format!("trip {round}");
        let terms = TccTerms { amount: micro(60), expires_at: Some(DbTime(1_000_000)) };
        ann.tcc(&biz_id, TccRequest::Try { terms, issued_at: DbTime(i64::MAX) }).await;
        match race(&company, &ann, &biz_id, [confirm_of(60), TccRequest::Expire]).await {
            [Applied, Replayed] => spent += 60,
            [Refused(TccRefusal::Cancelled), Applied] => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(ann.balances().await, [1_000 - spent, 0, spent, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn two_tries_at_once_see_each_other() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let rival = company.replica(1);
    for round in 0..ROUNDS {
        let mut holder = company.superuser().await;
        hold(&mut holder, &ann).await;
        let users = [("one", ann.clone()), ("other", ann.through(&rival))];
        let [one, other] = users.map(|(name, ann)| {
            let biz_id = format!("{name} {round}");
            tokio::spawn(async move { (ann.tries(&biz_id, 60).await, biz_id) })
        });
        company.blocked(2).await;
        let_go(&mut holder).await;
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        let (open, refused) = if one.0 == Applied { (one, other) } else { (other, one) };
        assert_eq!(open.0, Applied);
        let (available, requested) = (micro(40), micro(60));
        let refusal = TccRefusal::InsufficientPoints { available, requested };
        assert_eq!(refused.0, Refused(refusal));
        assert_eq!(ann.cancels(&open.1).await, Applied);
    }
    rival.close().await;
    company.finish().await;
}
