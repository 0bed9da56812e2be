//! Which reservations are past their time, and how little it costs to know.

use domain::ledger::tcc::{DbTime, TccOutcome, TccTerms};
use store::expiry::DueExpiry;
use store::tcc::TccRequest;

use crate::Company;
use crate::builder::{User, micro};

use TccOutcome::{Applied, Replayed};

/// Year 2100, in microseconds.
const FAR: i64 = 4_102_444_800_000_000;
const SECOND: i64 = 1_000_000;

async fn tries(ann: &User, biz_id: &str, expires_at: i64) {
    let terms = TccTerms { amount: micro(10), expires_at: Some(DbTime(expires_at)) };
    let request = TccRequest::Try { terms, issued_at: DbTime(i64::MAX) };
    assert_eq!(ann.tcc(biz_id, request).await, Applied);
}

async fn due(company: &Company) -> Vec<DueExpiry> {
    company.store.due_expiries(None, 100).await.unwrap()
}

fn names(due: &[DueExpiry]) -> Vec<&str> {
    due.iter().map(|due| due.biz_id.as_str()).collect()
}

#[tokio::test]
async fn what_is_past_its_time_is_due_in_order_and_nothing_else_is() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let bob = company.user("bob", 100).await;
    tries(&ann, "third", 3 * SECOND).await;
    tries(&bob, "first", SECOND).await;
    tries(&ann, "second", 2 * SECOND).await;
    tries(&ann, "far", FAR).await;
    ann.tries("timeless", 10).await;
    ann.cancels("tombstone").await;
    let grant = ann.operation(1, 10).granted().await;
    assert!(grant.valid_until.0 < 1_000_000, "long past by any clock");
    let all = due(&company).await;
    assert_eq!(names(&all), ["first", "second", "third"]);
    assert_eq!((all[0].account, all[1].account), (bob.account, ann.account));

    let page = company.store.due_expiries(None, 2).await.unwrap();
    assert_eq!(names(&page), ["first", "second"]);
    let rest = company.store.due_expiries(Some(page[1].place), 2).await.unwrap();
    assert_eq!(names(&rest), ["third"]);
    company.finish().await;
}

#[tokio::test]
async fn what_has_closed_is_offered_until_it_is_noted_and_what_is_open_cannot_be_noted() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    for biz_id in ["confirmed", "cancelled", "expired", "open"] {
        tries(&ann, biz_id, SECOND).await;
    }
    ann.confirms("confirmed", 5).await;
    ann.cancels("cancelled").await;
    let all = due(&company).await;
    let open = |all: &[DueExpiry]| -> Vec<bool> { all.iter().map(|due| due.is_open).collect() };
    assert_eq!(names(&all), ["confirmed", "cancelled", "expired", "open"]);
    assert_eq!(open(&all), [false, false, true, true]);
    assert_eq!(ann.tcc("expired", TccRequest::Expire).await, Applied);

    company.store.note_swept(&all).await.unwrap();
    let left = due(&company).await;
    assert_eq!(names(&left), ["open"], "its points would be forgotten");
    company.store.note_swept(&all).await.unwrap();
    assert_eq!(ann.balances().await, [85, 10, 5, 0]);
    for biz_id in ["confirmed", "cancelled", "expired"] {
        assert_eq!(ann.tcc(biz_id, TccRequest::Expire).await, Replayed, "{biz_id}");
    }
    company.finish().await;
}

#[tokio::test]
async fn a_try_whose_time_is_past_already_is_found_behind_what_was_swept() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    tries(&ann, "later", 5 * SECOND).await;
    ann.cancels("later").await;
    company.store.note_swept(&due(&company).await).await.unwrap();
    tries(&ann, "earlier", SECOND).await;
    assert_eq!(names(&due(&company).await), ["earlier"]);
    company.finish().await;
}

#[tokio::test]
async fn no_open_reservation_can_be_marked_as_swept_by_any_hand() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    tries(&ann, "open", SECOND).await;
    let mut superuser = company.superuser().await;
    let mark = sqlx::query("UPDATE reservations SET expiry_swept = true");
    let refused = mark.execute(&mut superuser).await.unwrap_err();
    let constraint = refused.as_database_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("reservations_swept_is_closed"));
    company.finish().await;
}

#[tokio::test]
async fn confirm_cancel_and_expire_touch_no_index() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    for biz_id in ["confirmed", "cancelled", "expired"] {
        tries(&ann, biz_id, SECOND).await;
    }
    ann.confirms("confirmed", 5).await;
    ann.cancels("cancelled").await;
    assert_eq!(ann.tcc("expired", TccRequest::Expire).await, Applied);
    // The counters arrive a moment later.
    let updates = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'reservations'";
    company.eventually(updates, 3).await;
    let hot = "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'reservations'";
    assert_eq!(company.count(hot).await, 3);
    company.finish().await;
}
