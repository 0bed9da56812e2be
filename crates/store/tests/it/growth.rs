//! What grows, and what must not cost more because of it.

use core::time::Duration;

use domain::ledger::sponsorship::CancelOutcome;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::StoreError;
use store::partitions::{Attachment, MONTHS_AHEAD, Partition, Partitioned};

use crate::Company;
use crate::builder::{CHAIN, HEAD, User, VALIDITY};
use crate::chain::landing;
use crate::settlement::scene;

#[tokio::test]
async fn migrations_make_partitions_for_the_months_ahead_and_they_belong_to_the_maintenance_role() {
    let company = Company::new().await;
    assert_eq!(company.store.months_ahead().await.unwrap(), MONTHS_AHEAD);
    let all = company.store.partitions().await.unwrap();
    for table in Partitioned::ALL {
        let attached = all.iter().filter(|found| {
            found.partition.table == table && found.attachment == Attachment::Attached
        });
        // The previous month, the current one, and those ahead.
        assert_eq!(attached.count(), 5, "{table:?}");
    }
    for found in &all {
        assert_eq!(Partition::named(&found.partition.name()), Some(found.partition));
    }
    let others = "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE c.relkind = 'r' AND c.relowner <> 'stipend_maintenance'::regrole";
    assert_eq!(company.count(others).await, 0);
    company.finish().await;
}

#[tokio::test]
async fn partitioned_tables_have_no_foreign_keys_and_no_default_partition() {
    let company = Company::new().await;
    let keys = "SELECT count(*) FROM pg_constraint k JOIN pg_partitioned_table p
        ON k.conrelid = p.partrelid OR k.confrelid = p.partrelid WHERE k.contype = 'f'";
    assert_eq!(company.count(keys).await, 0);
    let tables = "SELECT count(*) FROM pg_partitioned_table WHERE partdefid = 0";
    assert_eq!(company.count(tables).await, 5);
    assert_eq!(company.count("SELECT count(*) FROM pg_partitioned_table").await, 5);
    company.finish().await;
}

#[tokio::test]
async fn the_archive_has_the_columns_of_what_it_takes_in_their_order() {
    let company = Company::new().await;
    let differing = "SELECT count(*) FROM (VALUES ('reservations', 'archived_reservations'),
            ('grants', 'archived_grants'), ('reservation_legs', 'archived_legs')) AS t (kept, archive)
        WHERE (SELECT array_agg(ROW (a.attname, a.atttypid) ORDER BY a.attnum) FROM pg_attribute a
                WHERE a.attrelid = t.kept::regclass AND a.attnum > 0 AND NOT a.attisdropped)
            IS DISTINCT FROM
            (SELECT array_agg(ROW (a.attname, a.atttypid) ORDER BY a.attnum) FROM pg_attribute a
                WHERE a.attrelid = t.archive::regclass AND a.attnum > 1 AND NOT a.attisdropped)";
    assert_eq!(company.count(differing).await, 0);
    let mut superuser = company.superuser().await;
    let breakage = "BEGIN; ALTER TABLE grants ADD note text";
    sqlx::raw_sql(breakage).execute(&mut superuser).await.unwrap();
    let found: i64 = sqlx::query_scalar(differing).fetch_one(&mut superuser).await.unwrap();
    assert_eq!(found, 1, "a column that the archive lacks is seen");
    sqlx::raw_sql("ROLLBACK").execute(&mut superuser).await.unwrap();
    company.finish().await;
}

#[tokio::test]
async fn a_command_without_a_partition_says_what_to_do_and_records_nothing() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut maintenance = PgConnection::connect(&company.db.maintenance_url).await.unwrap();
    for found in company.store.partitions().await.unwrap() {
        if found.partition.table == Partitioned::Outbox {
            let sql = format!("ALTER TABLE outbox DETACH PARTITION {}", found.partition.name());
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut maintenance).await.unwrap();
        }
    }
    assert_eq!(company.store.months_ahead().await.unwrap(), 0);
    let command = ann.movement(store::funds::Direction::Credit, 5, "late");
    let refused = company.store.move_funds(&command).await.unwrap_err();
    assert!(matches!(&refused, StoreError::NoPartition(table) if table == "outbox"), "{refused}");
    assert!(refused.to_string().contains("stipend migrate"), "{refused}");
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);

    store::migrate(&company.db.owner_url).await.unwrap();
    assert_eq!(company.store.months_ahead().await.unwrap(), MONTHS_AHEAD);
    ann.credit(5, "late").await;
    assert_eq!(ann.balances().await, [105, 0, 0, 0]);
    company.finish().await;
}

async fn is_hot(company: &Company, table: &str, least: i64) {
    let counts = format!(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = '{table}'"
    );
    let mut superuser = company.superuser().await;
    // The counters arrive a moment later.
    let wait = async {
        loop {
            let (all, hot): (i64, i64) = sqlx::query_as(AssertSqlSafe(counts.clone()))
                .fetch_one(&mut superuser)
                .await
                .unwrap();
            if all >= least {
                return (all, hot);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (all, hot) = tokio::time::timeout(crate::builder::PATIENCE, wait).await.unwrap();
    assert_eq!(hot, all, "{table}");
}

#[tokio::test]
async fn tries_and_confirms_update_accounts_and_reservations_without_touching_an_index() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    for round in 0..20 {
        ann.tries(&format!("biz {round}"), 10).await;
        ann.confirms(&format!("biz {round}"), 5).await;
    }
    is_hot(&company, "accounts", 41).await;
    is_hot(&company, "reservations", 20).await;
    company.finish().await;
}

#[tokio::test]
async fn a_sponsorship_that_lands_and_one_that_is_released_touch_no_index() {
    let (company, ann, mut chain) = scene(1_000).await;
    ann.operation(1, 60).granted().await;
    ann.operation(2, 60).granted().await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    assert_eq!(chain.apply().await.len(), 1);
    assert_eq!(chain.release().await, [CancelOutcome::Released]);
    is_hot(&company, "reservations", 3).await;
    company.finish().await;
}

/// What the statements of a process of its own touched in tables and indexes, in buffers. A session tells its counts
/// when it ends.
async fn touched<F>(company: &Company, work: impl FnOnce(store::Store) -> F) -> i64
where
    F: Future<Output = store::Store>,
{
    const BUFFERS: &str = "SELECT sum(coalesce(heap_blks_hit, 0) + coalesce(heap_blks_read, 0)
            + coalesce(idx_blks_hit, 0) + coalesce(idx_blks_read, 0))::bigint
        FROM pg_statio_user_tables";
    let mut superuser = company.superuser().await;
    sqlx::raw_sql("SELECT pg_stat_reset()").execute(&mut superuser).await.unwrap();
    work(company.replica(2)).await.close().await;
    let quiet = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'stipend'";
    // The company's own store has been closed before.
    company.eventually(quiet, 0).await;
    company.count(BUFFERS).await
}

/// So many closed reservations, and lines and events as of them, by a hand that keeps no books.
async fn fill(company: &Company, ann: &User, rows: u32) {
    let mut superuser = company.superuser().await;
    let (tenant, account) = (ann.tenant, ann.account);
    let sql = format!(
        "SET session_replication_role = replica;
        INSERT INTO reservations (tenant_id, account_id, reservation_id, kind, state,
            reserved_micropoints, opened_at, changed_at, biz_id, requested_micropoints,
            settled_micropoints)
        SELECT '{tenant}', '{account}', gen_random_uuid(), 'tcc', 'settled_final', 1, now(), now(),
            'filled ' || n, 1, 1 FROM generate_series(1, {rows}) n;
        INSERT INTO entries (tenant_id, account_id, seq, kind, from_column, to_column,
            amount_micropoints, available_after_micropoints, reserved_after_micropoints,
            spent_after_micropoints, debt_after_micropoints, incarnation, recorded_at, entry_hash)
        SELECT '{tenant}', '{account}', 1 + n, 'confirm', 'reserved', 'spent', 1, 1, 1, 1, 0, 1,
            now(), sha256('') FROM generate_series(1, {rows}) n;
        INSERT INTO outbox (tenant_id, account_id, event_seq, incarnation, kind, entry_seq,
            recorded_at)
        SELECT '{tenant}', '{account}', 1 + n, 1, 'tcc.settled', 1, now()
        FROM generate_series(1, {rows}) n;
        UPDATE accounts SET entry_seq = 1 + {rows}, event_seq = 1 + {rows}
        WHERE account_id = '{account}'"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut superuser).await.unwrap();
    sqlx::raw_sql("VACUUM (ANALYZE)").execute(&mut superuser).await.unwrap();
}

/// The buffers of fifty tries on an account with so much behind it.
async fn buffers_of_tries(rows: u32) -> i64 {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    fill(&company, &ann, rows).await;
    company.store.close().await;
    touched(&company, async |store| {
        let ann = ann.through(&store);
        for round in 0..50 {
            ann.tries(&format!("biz {round}"), 1).await;
        }
        store
    })
    .await
}

#[tokio::test]
async fn a_try_touches_no_more_of_a_table_that_is_a_hundred_times_as_long() {
    let (few, many) = (buffers_of_tries(500).await, buffers_of_tries(50_000).await);
    assert!(few > 500, "what is touched is counted: {few}");
    // Indexes are one or two levels higher: a few buffers more for each probe, not a hundred times as many.
    assert!(many < few * 2, "{few} buffers on 500 rows, {many} on 50 000");
}

#[tokio::test]
async fn the_releaser_does_not_meet_what_has_closed_again() {
    let (company, ann, mut chain) = scene(10_000).await;
    for nonce in 1..=40 {
        ann.operation(nonce, 60).granted().await;
    }
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.apply().await;
    assert_eq!(chain.release().await.len(), 39);
    let swept = "SELECT count(*) FROM reservations WHERE window_swept";
    while company.store.sweep_windows(CHAIN, 15).await.unwrap() > 0 {}
    assert_eq!(company.count(swept).await, 40);
    let next = ann.operation(41, 60).at(chain.head().timestamp.0).granted().await;
    chain.mine_past(chain.head().timestamp.0 + VALIDITY).await;
    chain.finalise().await;
    let mut superuser = company.superuser().await;
    sqlx::raw_sql("VACUUM reservations").execute(&mut superuser).await.unwrap();
    company.store.close().await;
    let read = touched_rows(&company).await;
    assert!(read <= 4, "one is due, and 40 have closed: {read} rows of the index were read");
    let due = company.replica(2);
    let due_now = due.releasable(CHAIN, 50).await.unwrap();
    assert_eq!(due_now.len(), 1);
    assert_eq!(due.release(&due_now[0]).await.unwrap(), CancelOutcome::Released);
    let (view, ..) = due.sponsorship(company.tenant, next.reservation).await.unwrap().unwrap();
    assert_eq!(view.state, store::views::ViewState::Released);
    due.close().await;
    crate::invariants::hold(&company.db).await;
}

/// The rows that a look for what can be released reads of its index.
async fn touched_rows(company: &Company) -> i64 {
    touched(company, async |store| {
        assert_eq!(store.releasable(CHAIN, 50).await.unwrap().len(), 1);
        store
    })
    .await;
    let read = "SELECT idx_tup_read FROM pg_stat_user_indexes
        WHERE indexrelname = 'reservations_window_idx'";
    company.count(read).await
}

#[tokio::test]
async fn what_is_open_cannot_be_swept_by_any_hand_and_a_late_landing_of_what_was_swept_settles() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    let mut superuser = company.superuser().await;
    let mark = sqlx::query("UPDATE reservations SET window_swept = true");
    let refused = mark.execute(&mut superuser).await.unwrap_err();
    let constraint = refused.as_database_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("reservations_swept_is_closed"));
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    assert_eq!(company.store.sweep_windows(CHAIN, 10).await.unwrap(), 0, "it is open");
    chain.release().await;
    assert_eq!(company.store.sweep_windows(CHAIN, 10).await.unwrap(), 1);
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    chain.reorganise().await;
    chain.apply().await;
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}
