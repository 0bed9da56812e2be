//! A database whose host vanishes: it neither answers nor hangs up. Nothing waits for it for ever.

use std::sync::Arc;

use store::funds::{Direction, FundsOutcome};
use store::{Store, StoreError};
use tokio::time::timeout;

use crate::Company;
use crate::builder::{PATIENCE, User, micro};
use crate::wire::Wire;

/// A user whose commands go through a wire, on a connection that has been used.
async fn wired(company: &Company) -> (Arc<Wire>, Store, User) {
    let (wire, url) = Wire::to(&company.db.runtime_url).await;
    let store = Store::connect_lazy(&url, 1).unwrap();
    let ann = company.user("ann", 0).await.through(&store);
    ann.credit(1, "first").await;
    (wire, store, ann)
}

async fn until_stranded(wire: &Wire) {
    let stranded = async {
        while wire.stranded() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, stranded).await.unwrap();
}

#[tokio::test]
async fn a_command_that_nobody_answers_is_carried_out_on_another_connection() {
    let company = Company::new().await;
    let (wire, store, ann) = wired(&company).await;
    wire.fall_silent(true);
    let command = ann.movement(Direction::Credit, 5, "welcome");
    let moving = store.move_funds(&command);
    let mending = async {
        until_stranded(&wire).await;
        wire.fall_silent(false);
    };
    let (answer, ()) = timeout(PATIENCE, async { tokio::join!(moving, mending) }).await.unwrap();
    let FundsOutcome::Applied(movement) = answer.unwrap() else { panic!("not applied") };
    assert_eq!(movement.available_after, micro(6));
    assert_eq!(ann.balances().await, [6, 0, 0, 0]);
    store.close().await;
    company.finish().await;
}

#[tokio::test]
async fn closing_does_not_wait_for_a_database_that_is_gone() {
    let company = Company::new().await;
    let (wire, store, ann) = wired(&company).await;
    wire.fall_silent(true);
    let command = ann.movement(Direction::Credit, 5, "welcome");
    let moving = store.move_funds(&command);
    let closing = async {
        until_stranded(&wire).await;
        timeout(PATIENCE, store.close()).await.unwrap();
    };
    let (answer, ()) = timeout(PATIENCE, async { tokio::join!(moving, closing) }).await.unwrap();
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    wire.fall_silent(false);
    let ann = ann.through(&company.store);
    assert_eq!(ann.balances().await, [1, 0, 0, 0]);
    company.finish().await;
}
