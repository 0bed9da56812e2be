//! `stipend admin points import` of points that expire, and the company's rule for them.

use std::fs;
use std::process::{Command, Output};

use devstack::postgres::test_database;
use store::Store;
use tempfile::TempDir;

const FILE: &str = "bucket,external_id,amount,reason,reference,expires_at
gold,ann,1.5,opening,a,
gold,ann,2,opening,b,2100-01-01T00:00:00Z
,ann,3,opening,c,
gold,ann,4,opening,d,2001-01-01T00:00:00Z
";

/// What the binary says to these words, on this database.
fn stipend(folder: &TempDir, url: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stipend"));
    command.arg("admin").args(words).arg("--config").arg(folder.path().join("stipend.toml"));
    command.env("STIPEND__DATABASE__URL", url).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_file_names_buckets_and_expiries_and_what_is_past_is_refused() {
    let db = test_database(async |owner_url| store::migrate(&owner_url).await.unwrap());
    let db = db.await.unwrap();
    let store = Store::connect_lazy(&db.runtime_url, 4).unwrap();
    let tenant = store.ensure_tenant("acme").await.unwrap();
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("stipend.toml"), super::config::documented_example()).unwrap();
    let file = folder.path().join("points.csv");
    fs::write(&file, FILE).unwrap();
    let file = file.to_str().unwrap();
    let import = ["points", "import", "--tenant", "acme", "--create-accounts", file];
    let said = stipend(&folder, &db.runtime_url, &import);
    assert!(!said.status.success(), "the last line is refused");
    assert!(text(&said.stdout).contains("refused: 1 lines, 4 points"), "{}", text(&said.stdout));
    let refused = fs::read_to_string(folder.path().join("points.refused.csv")).unwrap();
    let line = "ann,4,opening,d,gold,2001-01-01T00:00:00Z,5,bucket_expired,";
    assert!(refused.contains(line), "{refused}");
    let ann = store.account_by_name(tenant, &"ann".parse().unwrap()).await.unwrap().unwrap();
    let found = store.balances(tenant, ann).await.unwrap().unwrap();
    assert_eq!(found.balances.available.to_string(), "6.5");
    let lots =
        found.lots.iter().map(|lot| (lot.lot.expires_at.is_some(), lot.available.to_string()));
    assert_eq!(lots.collect::<Vec<_>>(), [(true, "2".to_owned()), (false, "1.5".to_owned())]);
    let again = stipend(&folder, &db.runtime_url, &import);
    let replayed = "replayed, credited before: 3 lines, 6.5 points";
    assert!(text(&again.stdout).contains(replayed), "{}", text(&again.stdout));
    // Another bucket under the same reference is another credit.
    fs::write(file, FILE.replace("gold,ann,1.5", "silver,ann,1.5")).unwrap();
    let other = stipend(&folder, &db.runtime_url, &[&import[..], &["--dry-run"]].concat());
    assert!(text(&other.stderr).contains("reference_conflict"), "{}", text(&other.stderr));
    store.close().await;
}

#[tokio::test]
async fn a_companys_rule_for_expired_refunds_is_set_and_shown() {
    let db = test_database(async |owner_url| store::migrate(&owner_url).await.unwrap());
    let db = db.await.unwrap();
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("stipend.toml"), super::config::documented_example()).unwrap();
    let say = |words: &[&str]| stipend(&folder, &db.runtime_url, words);
    assert!(say(&["tenant", "create", "acme"]).status.success());
    assert!(text(&say(&["tenant", "show", "acme"]).stdout).contains("expired refund: keep\n"));
    let set = say(&["tenant", "set", "acme", "--expired-refund", "forfeit"]);
    assert!(text(&set.stdout).contains("expired refund: forfeit\n"), "{}", text(&set.stderr));
    assert!(text(&say(&["tenant", "show", "acme"]).stdout).contains("expired refund: forfeit\n"));
    assert!(text(&say(&["tenant", "show", "nobody"]).stderr).contains("there is no tenant nobody"));
    assert!(!say(&["tenant", "set", "acme", "--expired-refund", "maybe"]).status.success());
}
