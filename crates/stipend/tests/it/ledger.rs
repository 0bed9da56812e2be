//! `stipend admin ledger`, as an operator runs it.

use std::fs;
use std::process::{Command, Output};

use devstack::postgres::{TestDatabase, test_database};
use sqlx::{Connection, PgConnection};
use store::funds::{Direction, FundsOutcome, MoveFunds};
use store::{Keyed, Store};
use tempfile::TempDir;

use crate::config::documented_example;

/// A company with one user who has two lines.
pub(crate) async fn company() -> TestDatabase {
    let db = test_database(async |owner_url| store::migrate(&owner_url).await.unwrap());
    let db = db.await.unwrap();
    let store = Store::connect_lazy(&db.runtime_url, 4).unwrap();
    let tenant = store.ensure_tenant("acme").await.unwrap();
    let account = store.ensure_account(tenant, &"user-42".parse().unwrap()).await.unwrap();
    for reference in ["first", "second"] {
        let command = MoveFunds {
            tenant,
            account,
            direction: Direction::Credit,
            amount: "12.5".parse().unwrap(),
            lot: None,
            reason: "test".to_owned(),
            reference: reference.parse().unwrap(),
            keyed: Keyed { key: reference.parse().unwrap(), request_hash: [1; 32].into() },
        };
        let outcome = store.move_funds(&command).await.unwrap();
        assert!(matches!(outcome, FundsOutcome::Applied(_)), "{outcome:?}");
    }
    store.close().await;
    db
}

async fn sql(db: &TestDatabase, sql: &'static str) {
    let mut superuser = PgConnection::connect(&db.superuser_url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut superuser).await.unwrap();
}

/// Runs `stipend admin ledger` with the documented configuration on this database.
fn ledger(db: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String, String) {
    ledger_with(db, arguments, &[])
}

/// The same with more settings.
pub(crate) fn ledger_with(
    db: &TestDatabase,
    arguments: &[&str],
    settings: &[(&str, String)],
) -> (Option<i32>, String, String) {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("stipend.toml");
    fs::write(&config, documented_example()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_stipend"));
    command.arg("--config").arg(&config).args(["admin", "ledger"]).args(arguments);
    command.env("STIPEND__DATABASE__URL", &db.runtime_url);
    let output = command.envs(settings.iter().cloned()).output().unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn verify_ends_with_0_and_a_summary_where_the_books_agree() {
    let db = company().await;
    for arguments in [
        &["verify"][..],
        &["verify", "--tenant", "acme"],
        &["verify", "--tenant", "acme", "--account", "user-42", "--write-checkpoints"],
    ] {
        let (code, said, complaint) = ledger(&db, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {complaint}");
        assert!(said.starts_with("1 accounts, 2 entries, "), "{said}");
    }
    let (code, said, _) = ledger(&db, &["verify", "--from-checkpoint"]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("1 accounts, 0 entries, "), "{said}");
}

#[tokio::test]
async fn verify_ends_with_1_and_names_the_first_line_that_disagrees() {
    let db = company().await;
    sql(&db, "UPDATE entries SET amount_micropoints = 1 WHERE seq = 2").await;
    let (code, said, complaint) = ledger(&db, &["verify"]);
    assert_eq!(code, Some(1), "{said}");
    let named =
        "entry 2: available is 25000000 micropoints, must be 12500001 micropoints (user-42)";
    assert!(said.contains(named), "{said}");
    assert!(complaint.contains("1 account(s) disagree"), "{complaint}");
}

#[tokio::test]
async fn who_is_not_there_is_not_found_in_order() {
    let db = company().await;
    let (code, _, complaint) = ledger(&db, &["verify", "--tenant", "acne"]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("there is no tenant acne"), "{complaint}");
    let (code, _, complaint) = ledger(&db, &["verify", "--tenant", "acme", "--account", "user-43"]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("no account user-43"), "{complaint}");
    assert_ne!(ledger(&db, &["verify", "--account", "user-42"]).0, Some(0), "whose?");
}

#[tokio::test]
async fn anchors_are_held_against_a_file_that_was_kept_outside() {
    let db = company().await;
    sql(
        &db,
        "INSERT INTO anchors (day, incarnation, account_count, entry_count, root)
        VALUES ('2001-01-01', 1, 0, 0, sha256(''))",
    )
    .await;
    let (code, anchors, complaint) = ledger(&db, &["anchors"]);
    assert_eq!(code, Some(0), "{complaint}");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("anchors.jsonl");
    fs::write(&file, &anchors).unwrap();
    let file = file.to_str().unwrap();
    let (code, said, complaint) = ledger(&db, &["anchors", "--check", file]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "1 anchors agree with the entries\n"),
        "{complaint}"
    );
    fs::write(file, anchors.replace("2001-01-01", "2999-01-01")).unwrap();
    let (code, said, complaint) = ledger(&db, &["anchors", "--check", file]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("2999-01-01: the database has lost this anchor"), "{said}");
    assert!(said.contains("over 1 accounts and 2 entries"), "{said}");
    assert!(complaint.contains("2 finding(s)"), "{complaint}");
}
