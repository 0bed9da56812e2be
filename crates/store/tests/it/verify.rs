//! The books recomputed by the program itself: it sees every hand at work, and nothing else.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{AssertSqlSafe, PgConnection};
use store::funds::{Direction, MoveFunds};
use store::verify::{Disagreement, Progress, Scope};
use tokio::task::JoinSet;

use crate::Company;
use crate::buckets::FAR;
use crate::builder::User;
use crate::chain::{Chain, landing};

/// Everything that disagrees, and how much was looked at.
async fn verify(company: &Company, scope: Scope, group: u32) -> (Vec<Disagreement>, Progress) {
    let mut verification = company.store.verification(scope).in_groups_of(group);
    let mut all = Vec::new();
    while let Some(found) = verification.step(&|_| {}).await.unwrap() {
        all.extend(found);
    }
    (all, verification.progress())
}

/// Two users with reservations in every state; the second has the lines that are tampered with.
async fn lively() -> (Company, User) {
    let company = Company::new().await;
    company.month(2001, 1).await;
    let bob = company.user("bob", 70).await;
    bob.tries("kept", 10).await;
    let ann = company.user("ann", 1_000).await;
    ann.tries("kept", 50).await;
    ann.tries("spent", 50).await;
    ann.confirms("spent", 20).await;
    ann.tries("gone", 50).await;
    ann.cancels("gone").await;
    ann.tries("too much", 5_000).await;
    ann.operation(1, 100).granted().await;
    ann.operation(2, 100).granted().await;
    ann.operation(2, 120).granted().await;
    let mut chain = Chain::start(&company.store).await;
    chain.mine(&[landing(&ann, 2, 70)]).await;
    chain.apply().await;
    (company, ann)
}

/// In one snapshot, and page by page as a journal that is too long for one.
const GROUPS: [u32; 2] = [20_000, 2];

#[tokio::test]
async fn books_in_order_are_found_in_order_whatever_is_read_at_once() {
    let (company, ann) = lively().await;
    let lines = company.count("SELECT count(*) FROM entries").await;
    for group in [20_000, 7, 2, 1] {
        let (found, progress) = verify(&company, Scope::default(), group).await;
        assert_eq!(found, [], "groups of {group}");
        assert_eq!((progress.accounts, progress.entries), (2, u64::try_from(lines).unwrap()));
    }
    let only = Scope { account: Some(ann.account), ..Scope::default() };
    assert_eq!(verify(&company, only, 20_000).await.1.accounts, 1);
    let nobody = Scope { tenant: Some(domain::TenantId(ann.account.0)), ..Scope::default() };
    assert_eq!(verify(&company, nobody, 20_000).await.1, Progress::default());
    company.finish().await;
}

/// One hand at work: its statement, and the line, reservation and field that must be named.
struct Tampering {
    sql: &'static str,
    seq: Option<i64>,
    of_reservation: bool,
    field: &'static str,
}

const fn line(seq: i64, field: &'static str, sql: &'static str) -> Tampering {
    Tampering { sql, seq: Some(seq), of_reservation: false, field }
}

const fn account(field: &'static str, sql: &'static str) -> Tampering {
    Tampering { sql, seq: None, of_reservation: false, field }
}

const fn reservation(field: &'static str, sql: &'static str) -> Tampering {
    Tampering { sql, seq: None, of_reservation: true, field }
}

/// `OF ANN` stands for what is hers.
const TAMPERINGS: &[Tampering] = &[
    line(3, "available", "UPDATE entries SET amount_micropoints = 51 WHERE OF ANN AND seq = 3"),
    line(3, "entry_hash", "UPDATE entries SET kind = 'confirm' WHERE OF ANN AND seq = 3"),
    line(4, "seq", "DELETE FROM entries WHERE OF ANN AND seq = 4"),
    line(1, "seq", "DELETE FROM movements; DELETE FROM entries WHERE OF ANN AND seq = 1"),
    line(4, "entry_hash", "UPDATE entries SET entry_hash = sha256('x') WHERE OF ANN AND seq = 4"),
    line(
        2,
        "available",
        "UPDATE entries SET available_after_micropoints = 1 WHERE OF ANN AND seq = 2",
    ),
    line(
        2,
        "reserved",
        "UPDATE entries SET reserved_after_micropoints = -1 WHERE OF ANN AND seq = 2",
    ),
    line(2, "spent", "UPDATE entries SET spent_after_micropoints = 1 WHERE OF ANN AND seq = 2"),
    line(2, "debt", "UPDATE entries SET debt_after_micropoints = 1 WHERE OF ANN AND seq = 2"),
    line(2, "entry_hash", "UPDATE entries SET reservation_id = NULL WHERE OF ANN AND seq = 2"),
    line(1, "entry_hash", "UPDATE entries SET reference = 'other' WHERE OF ANN AND seq = 1"),
    line(5, "entry_hash", "UPDATE entries SET incarnation = 2 WHERE OF ANN AND seq = 5"),
    line(
        5,
        "recorded_at",
        "UPDATE entries SET recorded_at = '2001-01-01' WHERE OF ANN AND seq = 5",
    ),
    line(
        5,
        "entry_hash",
        "UPDATE entries SET recorded_at = recorded_at + interval '1 us'
            WHERE OF ANN AND seq = 5",
    ),
    line(
        2,
        "kind",
        "ALTER DOMAIN entry_kind DROP CONSTRAINT entry_kind_known;
            UPDATE entries SET kind = 'gift' WHERE OF ANN AND seq = 2",
    ),
    line(
        2,
        "amount",
        "ALTER DOMAIN positive_micropoints DROP CONSTRAINT micropoints_positive;
            UPDATE entries SET amount_micropoints = -50 WHERE OF ANN AND seq = 2",
    ),
    line(
        2,
        "to_column",
        "ALTER DOMAIN ledger_column DROP CONSTRAINT ledger_column_known;
            UPDATE entries SET to_column = 'mine' WHERE OF ANN AND seq = 2",
    ),
    account("entry_seq", "UPDATE accounts SET entry_seq = entry_seq + 1 WHERE OF ANN"),
    account(
        "entry_seq",
        "DELETE FROM entries e USING accounts a
            WHERE e.seq = a.entry_seq AND e.account_id = a.account_id AND a.OF ANN",
    ),
    account("entry_hash", "UPDATE accounts SET entry_hash = sha256('x') WHERE OF ANN"),
    account("available", "UPDATE accounts SET available_micropoints = 1 WHERE OF ANN"),
    account("reserved", "UPDATE accounts SET reserved_micropoints = 0 WHERE OF ANN"),
    account(
        "debt",
        "ALTER DOMAIN micropoints DROP CONSTRAINT micropoints_not_negative;
            UPDATE accounts SET debt_micropoints = -1 WHERE OF ANN",
    ),
    reservation(
        "reserved by reservations",
        "UPDATE reservations SET state = 'released' WHERE OF ANN AND biz_id = 'kept'",
    ),
    reservation(
        "reserved by reservations",
        "UPDATE reservations SET reserved_micropoints = 51 WHERE OF ANN AND biz_id = 'kept'",
    ),
    reservation(
        "reserved by reservations",
        "UPDATE reservations SET state = 'open' WHERE OF ANN AND biz_id = 'gone'",
    ),
    reservation(
        "spent by reservations",
        "UPDATE reservations SET settled_micropoints = 21 WHERE OF ANN AND biz_id = 'spent'",
    ),
    reservation(
        "spent by reservations",
        "UPDATE reservations
            SET from_available_micropoints = 1 WHERE OF ANN AND state = 'settled_provisional'",
    ),
    // The sums stay as they were.
    reservation(
        "reserved by reservations",
        "UPDATE reservations SET reserved_micropoints =
                CASE biz_id WHEN 'kept' THEN 49 ELSE 101 END
            WHERE OF ANN AND (biz_id = 'kept' OR nonce = decode(repeat('00', 31) || '01', 'hex'))",
    ),
    reservation(
        "reserved by reservations",
        "DELETE FROM reservations WHERE OF ANN AND biz_id = 'kept'",
    ),
    reservation(
        "shape",
        "UPDATE reservations SET requested_micropoints = NULL WHERE OF ANN AND biz_id = 'kept'",
    ),
    reservation(
        "shape",
        "UPDATE reservations SET settled_block_hash = NULL
            WHERE OF ANN AND state = 'settled_provisional'",
    ),
];

#[tokio::test]
async fn every_hand_at_work_is_found_and_its_first_line_named() {
    let (company, ann) = lively().await;
    for Tampering { sql, seq, of_reservation, field } in TAMPERINGS {
        // The books are put right again by undoing in the same way, because the program looks
        // through connections of its own.
        let mut superuser = company.superuser().await;
        save(&mut superuser).await;
        let of_ann = format!("account_id = '{}'", ann.account);
        let sql = sql.replace("OF ANN", &of_ann);
        sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut superuser).await.unwrap();
        for group in GROUPS {
            let (found, progress) = verify(&company, Scope::default(), group).await;
            let [found] = &found[..] else { panic!("{sql}: {found:?}") };
            let place = (found.account, found.seq, found.reservation.is_some(), found.field);
            assert_eq!(place, (ann.account, *seq, *of_reservation, *field), "{sql}: {found}");
            assert_ne!(found.expected, found.found, "{sql}");
            assert_eq!(progress.accounts, 2, "the other account is looked at too");
        }
        restore(&mut superuser).await;
    }
    company.finish().await;
}

const TABLES: [&str; 7] =
    ["accounts", "entries", "movements", "reservations", "grants", "buckets", "reservation_legs"];

async fn save(superuser: &mut PgConnection) {
    for table in TABLES {
        let sql = format!("CREATE TEMP TABLE saved_{table} AS TABLE {table}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *superuser).await.unwrap();
    }
}

async fn restore(superuser: &mut PgConnection) {
    let mut sql = "BEGIN; SET LOCAL session_replication_role = replica;".to_owned();
    for table in TABLES {
        sql += &format!(
            "DELETE FROM {table}; INSERT INTO {table} TABLE saved_{table};
            DROP TABLE saved_{table};"
        );
    }
    sql += "COMMIT";
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(superuser).await.unwrap();
}

#[tokio::test]
async fn an_account_with_the_lines_of_another_is_seen_at_its_first_line() {
    let (company, ann) = lively().await;
    let eve = company.user("eve", 0).await;
    let mut superuser = company.superuser().await;
    let swap = format!(
        "UPDATE accounts e SET available_micropoints = a.available_micropoints,
            reserved_micropoints = a.reserved_micropoints, spent_micropoints = a.spent_micropoints,
            entry_seq = a.entry_seq, entry_hash = a.entry_hash
        FROM accounts a WHERE e.account_id = '{eve}' AND a.account_id = '{ann}';
        CREATE TEMP TABLE copied AS SELECT * FROM entries WHERE account_id = '{ann}';
        UPDATE copied SET account_id = '{eve}'; INSERT INTO entries TABLE copied",
        eve = eve.account,
        ann = ann.account
    );
    sqlx::raw_sql(AssertSqlSafe(swap)).execute(&mut superuser).await.unwrap();
    let (found, _) = verify(&company, Scope::default(), 20_000).await;
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!((found.account, found.seq, found.field), (eve.account, Some(1), "entry_hash"));
}

/// What a hand does to the lots and legs of one account: its statement, and what must be named.
const LOT_TAMPERINGS: [(&str, &str, &str); 9] = [
    (
        "UPDATE buckets SET available_micropoints = 4 WHERE lot = 1",
        "available of a bucket",
        "gift until 2100-01-01T00:00:00Z",
    ),
    ("UPDATE buckets SET bucket = 'gold' WHERE lot = 2", "available of a bucket", "gold"),
    (
        "DELETE FROM reservation_legs WHERE lot = 2; DELETE FROM buckets WHERE lot = 2",
        "available of a bucket",
        "gift",
    ),
    (
        "UPDATE reservation_legs SET reserved_micropoints = 31 WHERE lot = 1",
        "reserved by a leg",
        "gift until 2100-01-01T00:00:00Z",
    ),
    (
        "UPDATE reservation_legs SET settled_micropoints = 4 WHERE lot = 2",
        "settled by a leg",
        "gift",
    ),
    (
        "UPDATE reservation_legs SET returned_micropoints = 0 WHERE lot = 2",
        "returned by a leg",
        "gift",
    ),
    ("UPDATE reservation_legs SET taken_micropoints = 1 WHERE lot = 2", "taken by a leg", "gift"),
    ("DELETE FROM reservation_legs WHERE lot = 2", "reserved by a leg", "gift"),
    (
        "UPDATE reservation_legs l SET reservation_id = r.reservation_id FROM reservations r
            WHERE r.biz_id = 'open' AND l.lot = 1",
        "reserved by a leg",
        "gift until 2100-01-01T00:00:00Z",
    ),
];

#[tokio::test]
async fn a_lot_or_leg_that_is_tampered_with_is_named() {
    let company = Company::new().await;
    let ann = company.user("ann", 10).await;
    ann.credit_to("gift", Some(FAR), 30).await;
    ann.credit_to("gift", None, 30).await;
    let mut superuser = company.superuser().await;
    ann.tries("spent", 50).await;
    ann.confirms("spent", 35).await;
    ann.tries("open", 5).await;
    // From a checkpoint as well, which says nothing of lots.
    let write = Scope { write_checkpoints: true, ..Scope::default() };
    let resume = Scope { from_checkpoint: true, ..Scope::default() };
    assert_eq!(verify(&company, write, 20_000).await.0, []);
    for (sql, field, lot) in LOT_TAMPERINGS {
        for (group, scope) in [(20_000, Scope::default()), (2, Scope::default()), (2, resume)] {
            save(&mut superuser).await;
            sqlx::raw_sql(sql).execute(&mut superuser).await.unwrap();
            let (found, _) = verify(&company, scope, group).await;
            let [found] = &found[..] else { panic!("{sql}: {found:?}") };
            assert_eq!((found.account, found.field), (ann.account, field), "{sql}");
            assert_eq!(found.lot.as_deref(), Some(lot), "{found}");
            assert!(found.to_string().contains(lot), "{found}");
            restore(&mut superuser).await;
        }
    }
    company.finish().await;
}

#[tokio::test]
async fn commands_at_work_raise_no_false_alarm() {
    let (company, ann) = lively().await;
    let bob = company.user("carol", 0).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for (worker, user) in [&ann, &ann, &bob, &bob].into_iter().enumerate() {
        let (user, stop) = (user.clone(), Arc::clone(&stop));
        load.spawn(async move {
            let mut rounds = 0;
            // Every line is read in every round below.
            while !stop.load(Ordering::Relaxed) && rounds < 150 {
                let name = |what: &str| format!("{what} {worker} {rounds}");
                user.credit(90, &name("credit")).await;
                if worker > 1 {
                    let lot = user.lot_credit("gift", Some(FAR), 1).lot;
                    let gift = user.movement(Direction::Credit, 40, &name("gift"));
                    user.store.move_funds(&MoveFunds { lot, ..gift }).await.unwrap();
                }
                user.tries(&name("spent"), 30).await;
                user.tries(&name("gone"), 30).await;
                user.confirms(&name("spent"), 11).await;
                user.cancels(&name("gone")).await;
                user.tries(&name("kept"), 5).await;
                rounds += 1;
                // So that pages of three lines keep up with it.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            rounds
        });
    }
    let mut seen = 0;
    for round in 0..30 {
        let (found, progress) =
            verify(&company, Scope::default(), [20_000, 40, 3][round % 3]).await;
        assert_eq!(found, [], "round {round}");
        assert!(progress.entries >= seen, "nothing is lost");
        seen = progress.entries;
    }
    stop.store(true, Ordering::Relaxed);
    let rounds: i32 = load.join_all().await.into_iter().sum();
    assert!(rounds > 4, "there was load: {rounds} rounds");
    company.finish().await;
}

#[tokio::test]
async fn a_verification_goes_on_where_the_account_agreed_before() {
    let (company, ann) = lively().await;
    let write = Scope { write_checkpoints: true, ..Scope::default() };
    let resume = Scope { from_checkpoint: true, ..Scope::default() };
    let (_, all) = verify(&company, write, 20_000).await;
    for group in GROUPS {
        let (found, progress) = verify(&company, resume, group).await;
        assert_eq!((found, progress.entries), (vec![], 0), "groups of {group}");
    }
    ann.credit(5, "later").await;
    ann.tries("later", 5).await;
    ann.confirms("kept", 1).await;
    for group in GROUPS {
        let (found, progress) = verify(&company, resume, group).await;
        assert_eq!((found, progress.entries), (vec![], 4), "groups of {group}");
    }
    assert_eq!(verify(&company, write, 2).await.1.entries, all.entries + 4);
    assert_eq!(verify(&company, resume, 2).await.1.entries, 0);
    // Checkpoints are trusted, but for the line they name and what comes after it.
    let mut superuser = company.superuser().await;
    save(&mut superuser).await;
    let last = "UPDATE entries e SET entry_hash = sha256('x') FROM accounts a
        WHERE e.account_id = a.account_id AND e.seq = a.entry_seq";
    sqlx::raw_sql(last).execute(&mut superuser).await.unwrap();
    let (found, _) = verify(&company, resume, 20_000).await;
    assert!(found.iter().all(|found| found.field == "entry_hash" && found.seq.is_some()));
    assert_eq!(found.len(), 2, "{found:?}");
    restore(&mut superuser).await;
    save(&mut superuser).await;
    let open = "UPDATE reservations SET state = 'open' WHERE biz_id = 'gone'";
    sqlx::raw_sql(open).execute(&mut superuser).await.unwrap();
    let (found, _) = verify(&company, resume, 20_000).await;
    let fields: Vec<_> = found.iter().map(|found| (found.account, found.field)).collect();
    assert_eq!(fields, [(ann.account, "reserved by reservations")]);
    restore(&mut superuser).await;
    company.finish().await;
}
