//! The past: balances as of a time, against a model that keeps nothing but a list.

use domain::Points;
use domain::ledger::tcc::DbTime;
use sqlx::AssertSqlSafe;
use store::journal::{AsOf, CLOSES_AFTER, EntryLine, PastHead};
use store::statements::Period;

use crate::Company;
use crate::builder::User;

/// Moves what was recorded so far by some days; commands after it are recorded now.
async fn move_past(company: &Company, days: i32) {
    let mut superuser = company.superuser().await;
    for table in ["entries", "accounts"] {
        let sql = format!("UPDATE {table} SET recorded_at = recorded_at + interval '{days} days'");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut superuser).await.unwrap();
    }
}

async fn now(company: &Company) -> DbTime {
    DbTime(company.count("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").await)
}

async fn closed(user: &User, time: DbTime) -> PastHead {
    match user.store.head_as_of(user.tenant, user.account, time).await.unwrap() {
        AsOf::Closed(head) => head,
        AsOf::NotYetClosed { seconds } => panic!("not closed for {seconds} s"),
        AsOf::Archived => panic!("archived"),
    }
}

async fn lines(user: &User) -> Vec<EntryLine> {
    let between = user.store.entries_between(user.tenant, user.account, (0, i64::MAX), 10_000);
    between.await.unwrap()
}

#[tokio::test]
async fn a_balance_as_of_a_time_is_that_after_the_last_line_by_then() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    for round in 0..12 {
        ann.tries(&format!("spent {round}"), 50).await;
        ann.confirms(&format!("spent {round}"), 20).await;
        ann.credit(round + 1, &format!("credit {round}")).await;
    }
    move_past(&company, -2).await;
    let lines = lines(&ann).await;
    assert_eq!(lines.len(), 1 + 12 * 4);
    for line in &lines {
        // A command writes several lines at one time.
        for time in [line.recorded_at.0 - 1, line.recorded_at.0, line.recorded_at.0 + 1] {
            let last = lines.iter().rfind(|line| line.recorded_at.0 <= time);
            let head = closed(&ann, DbTime(time)).await;
            assert_eq!(head.seq, last.map_or(0, |line| line.seq), "{time}");
            assert_eq!(head.balances, last.map(|line| line.balances).unwrap_or_default());
            assert_eq!(head.recorded_at, last.map(|line| line.recorded_at));
        }
    }
    let before_all = closed(&ann, DbTime(0)).await;
    assert_eq!((before_all.seq, before_all.balances.available), (0, Points::ZERO));
    assert_eq!(before_all.hash, domain::ledger::journal::genesis(ann.tenant, ann.account));
    move_past(&company, 2).await;
    company.finish().await;
}

#[tokio::test]
async fn a_time_is_closed_only_when_nothing_can_be_recorded_at_it_any_more() {
    let company = Company::new().await;
    let ann = company.user("ann", 10).await;
    let span = i64::try_from(CLOSES_AFTER.as_micros()).unwrap();
    for (before_now, is_closed) in [(span + 1_000_000, true), (span - 3_000_000, false), (0, false)]
    {
        let time = DbTime(now(&company).await.0 - before_now);
        let answer = ann.store.head_as_of(ann.tenant, ann.account, time).await.unwrap();
        match answer {
            AsOf::Archived => panic!("archived"),
            AsOf::Closed(_) => assert!(is_closed, "{before_now} µs ago"),
            AsOf::NotYetClosed { seconds } => {
                assert!(!is_closed, "{before_now} µs ago");
                assert!((1..=CLOSES_AFTER.as_secs()).contains(&seconds), "{seconds}");
            }
        }
    }
    let period = Period { from: DbTime(0), until: now(&company).await };
    let span = ann.store.span(ann.tenant, ann.account, period).await.unwrap();
    assert!(matches!(span, AsOf::NotYetClosed { .. }), "{span:?}");
    company.finish().await;
}

#[tokio::test]
async fn the_limit_on_transactions_that_closing_rests_on_is_set() {
    let company = Company::new().await;
    let ann = company.user("ann", 10).await;
    // A command that hangs in its transaction is ended before the time it has read is closed.
    let mut superuser = company.superuser().await;
    let limits: Vec<String> =
        sqlx::query_scalar("SELECT setting FROM pg_settings WHERE name = 'transaction_timeout'")
            .fetch_all(&mut superuser)
            .await
            .unwrap();
    assert_eq!(limits, ["0"], "the server itself has none");
    let limit = ann.store.transaction_limit().await.unwrap();
    assert!(limit.is_some_and(|limit| limit < CLOSES_AFTER), "{limit:?}");
    company.finish().await;
}

#[tokio::test]
async fn periods_that_meet_neither_miss_nor_repeat_a_line() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    for round in 0..9 {
        ann.tries(&format!("spent {round}"), 50).await;
        ann.confirms(&format!("spent {round}"), 20).await;
    }
    move_past(&company, -2).await;
    let lines = lines(&ann).await;
    let mut edges: Vec<i64> = lines.iter().map(|line| line.recorded_at.0).collect();
    edges.insert(0, 0);
    edges.push(edges[edges.len() - 1] + 1);
    let mut next = 1;
    for edge in edges.windows(2).filter(|edge| edge[0] < edge[1]) {
        let period = Period { from: DbTime(edge[0]), until: DbTime(edge[1]) };
        let span = ann.store.span(ann.tenant, ann.account, period).await.unwrap();
        let AsOf::Closed(span) = span else { panic!("{span:?}") };
        assert_eq!(span.opening.seq + 1, next);
        next = span.closing.seq + 1;
    }
    assert_eq!(next, i64::try_from(lines.len()).unwrap() + 1);
    move_past(&company, 2).await;
    company.finish().await;
}
