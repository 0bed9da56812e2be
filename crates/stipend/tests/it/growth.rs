//! Old months leave the database for files, whatever dies in between; and `stipend admin ledger` says so.

use std::fs;
use std::path::Path;
use std::time::Duration;

use devstack::postgres::TestDatabase;
use service::maintain::{ArchiveSettings, Maintainer, Step};
use sqlx::{Connection, PgConnection};
use store::Store;
use store::archive::{Departure, Leaving, Maintenance};
use store::partitions::Attachment;
use store::verify::Scope;
use tempfile::TempDir;

use crate::ledger::{company, ledger_with};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A worker's maintenance, as one that was just started.
fn maintainer(db: &TestDatabase, folder: &Path) -> Maintainer {
    let store = Store::connect_lazy(&db.runtime_url, 4).unwrap();
    let database = Maintenance::connect_lazy(&db.maintenance_url).unwrap();
    let archive = ArchiveSettings { after: DAY * 62, folder: folder.to_owned() };
    Maintainer::new(store, database, Some(archive))
}

/// A company whose lines are four months old.
async fn old_company() -> TestDatabase {
    let db = company().await;
    db.backdate(120).await.unwrap();
    db
}

async fn left(db: &TestDatabase) -> Vec<Leaving> {
    let store = Store::connect_lazy(&db.runtime_url, 1).unwrap();
    let all = store.departures().await.unwrap();
    store.close().await;
    all.into_iter().filter(|leaving| leaving.departure != Departure::Here).collect()
}

async fn is_in_order(db: &TestDatabase) -> bool {
    let store = Store::connect_lazy(&db.runtime_url, 2).unwrap();
    let mut verification = store.verification(Scope::default());
    let mut found = Vec::new();
    while let Some(more) = verification.step(&|_| {}).await.unwrap() {
        found.extend(more);
    }
    store.close().await;
    found.is_empty()
}

#[tokio::test]
async fn a_month_leaves_although_its_worker_dies_after_every_step() {
    let (db, folder) = (old_company().await, TempDir::new().unwrap());
    let mut steps = Vec::new();
    loop {
        // Each step by a process of its own, that says nothing when it ends.
        let worker = maintainer(&db, folder.path());
        let due = worker.due().await.unwrap();
        let Some(leaving) = due.first() else { break };
        steps.push(worker.advance(leaving, folder.path()).await.unwrap());
        assert!(is_in_order(&db).await, "after {:?}", steps.last());
    }
    let all = left(&db).await;
    assert!(all.len() >= 10, "two months of five tables: {}", all.len());
    assert_eq!(steps.len(), all.len() * 4, "{steps:?}");
    let mut rows = 0;
    for leaving in &all {
        let Departure::Dropped(exported) = &leaving.departure else { panic!("{leaving:?}") };
        assert!(leaving.view.is_none(), "{leaving:?}");
        assert!(folder.path().join(&exported.file_name).exists());
        rows += exported.rows;
    }
    assert_eq!(rows, 4, "two lines and two events");
}

#[tokio::test]
async fn a_worker_that_died_between_its_file_and_its_note_is_followed_by_one_that_writes_it_again()
{
    let (db, folder) = (old_company().await, TempDir::new().unwrap());
    let worker = maintainer(&db, folder.path());
    let due = worker.due().await.unwrap();
    worker.advance(&due[0], folder.path()).await.unwrap();
    // What a killed export leaves: a part, and a file that nobody noted.
    let name = format!("{}.csv.gz", due[0].partition.name());
    fs::write(folder.path().join(format!("{name}.1.part")), "half").unwrap();
    fs::write(folder.path().join(&name), "another").unwrap();
    let worker = maintainer(&db, folder.path());
    let leaving = worker.due().await.unwrap().remove(0);
    assert_eq!(leaving.departure, Departure::Prepared);
    let step = worker.advance(&leaving, folder.path()).await.unwrap();
    assert!(matches!(step, Step::Exported(_)), "{step:?}");
    assert_ne!(fs::read(folder.path().join(&name)).unwrap(), b"another");
}

#[tokio::test]
async fn a_month_whose_file_was_lost_or_changed_is_not_dropped_but_written_again() {
    let (db, folder) = (old_company().await, TempDir::new().unwrap());
    let worker = maintainer(&db, folder.path());
    for expected in ["prepared", "exported", "detached"] {
        let leaving = worker.due().await.unwrap().remove(0);
        let step = worker.advance(&leaving, folder.path()).await.unwrap();
        let is_expected = match expected {
            "prepared" => step == Step::Prepared,
            "exported" => matches!(step, Step::Exported(_)),
            _ => step == Step::Detached,
        };
        assert!(is_expected, "{expected}: {step:?}");
    }
    let leaving = worker.due().await.unwrap().remove(0);
    assert_eq!(leaving.view.map(|view| view.attachment), Some(Attachment::Apart));
    let Departure::Exported(exported) = &leaving.departure else { panic!("{leaving:?}") };
    let path = folder.path().join(&exported.file_name);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let step = worker.advance(&leaving, folder.path()).await.unwrap();
    assert_eq!(step, Step::Exported(exported.clone()), "the same file again");
    assert_eq!(fs::read(&path).unwrap(), whole);
    fs::remove_file(&path).unwrap();
    let step = worker.advance(&leaving, folder.path()).await.unwrap();
    assert_eq!(step, Step::Exported(exported.clone()));
    assert_eq!(worker.advance(&leaving, folder.path()).await.unwrap(), Step::Dropped);
}

#[tokio::test]
async fn the_operator_is_told_what_would_leave_and_can_let_it() {
    let (db, folder) = (old_company().await, TempDir::new().unwrap());
    let settings = [
        ("STIPEND__DATABASE__MAINTENANCE_URL", db.maintenance_url.clone()),
        ("STIPEND__LEDGER__ARCHIVE_AFTER_DAYS", "62".to_owned()),
        ("STIPEND__LEDGER__ARCHIVE_DIR", folder.path().display().to_string()),
    ];
    let (code, said, complaint) = ledger_with(&db, &["archive"], &settings);
    assert_eq!(code, Some(0), "{complaint}");
    assert!(said.contains("would leave; --send lets them"), "{said}");
    assert_eq!(left(&db).await, [], "nothing was done");
    let (code, said, complaint) = ledger_with(&db, &["archive", "--send"], &settings);
    assert_eq!(code, Some(0), "{said}{complaint}");
    assert!(said.contains("2 rows in entries_"), "{said}");
    let (code, said, _) = ledger_with(&db, &["partitions"], &settings);
    assert_eq!(code, Some(0));
    assert!(said.contains("\tdropped\t") && said.contains("\tonline\t"), "{said}");
    assert!(said.ends_with("3 months ahead\n"), "{said}");
    let (code, said, _) = ledger_with(&db, &["verify"], &settings);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("1 accounts, 0 entries, "), "{said}");
    assert!(said.contains("1 accounts began at a checkpoint: entries before "), "{said}");
}

#[tokio::test]
async fn a_day_whose_entries_are_in_the_archive_is_not_called_tampered_with() {
    let (db, folder) = (old_company().await, TempDir::new().unwrap());
    let mut superuser = PgConnection::connect(&db.superuser_url).await.unwrap();
    // Anchors of a day before all entries, and of today: computed here from the account's row alone.
    let anchors = "INSERT INTO anchors (day, incarnation, account_count, entry_count, root)
        SELECT d.day, 1, 1, a.entry_seq, sha256('\\x00'::bytea || uuid_send(a.tenant_id)
            || uuid_send(a.account_id) || int8send(a.entry_seq) || a.entry_hash)
        FROM accounts a, (VALUES (current_date - 100), (current_date)) AS d (day)";
    sqlx::raw_sql(anchors).execute(&mut superuser).await.unwrap();
    let (_, anchors, _) = ledger_with(&db, &["anchors"], &[]);
    let file = folder.path().join("anchors.jsonl");
    fs::write(&file, &anchors).unwrap();
    let check = ["anchors", "--check", file.to_str().unwrap()];
    let (code, said, _) = ledger_with(&db, &check, &[]);
    assert_eq!((code, said.as_str()), (Some(0), "2 anchors agree with the entries\n"));
    let worker = maintainer(&db, folder.path());
    while let Some(leaving) = worker.due().await.unwrap().first() {
        worker.advance(leaving, folder.path()).await.unwrap();
    }
    let (code, said, complaint) = ledger_with(&db, &check, &[]);
    assert_eq!(code, Some(0), "{said}{complaint}");
    assert!(said.contains("1 anchors are of days whose entries are in the archive"), "{said}");
    assert!(said.contains("1 anchors agree with the entries"), "{said}");
}
