//! `stipend admin points import`, on a real PostgreSQL.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use devstack::postgres::{TestDatabase, test_database};
use domain::TenantId;
use domain::ids::ExternalId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use store::Store;
use tempfile::TempDir;

const HEADER: &str = "external_id,amount,reason,reference\n";
/// Longer than any import here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A company and a file that it wants to import.
struct Shop {
    folder: TempDir,
    db: TestDatabase,
    store: Store,
    tenant: TenantId,
}

struct Said {
    success: bool,
    out: String,
    err: String,
}

impl Shop {
    async fn new(text: &str) -> Self {
        let db = test_database(async |owner_url| store::migrate(&owner_url).await.unwrap());
        let db = db.await.unwrap();
        let store = Store::connect_lazy(&db.runtime_url, 4).unwrap();
        let tenant = store.ensure_tenant("acme").await.unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("stipend.toml"), super::config::documented_example()).unwrap();
        let shop = Self { folder, db, store, tenant };
        shop.write(text);
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, text: &str) {
        fs::write(self.path("points.csv"), text).unwrap();
    }

    fn command(&self, file: &str, flags: &[&str]) -> Command {
        self.command_for("acme", file, flags)
    }

    fn command_for(&self, tenant: &str, file: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stipend"));
        command
            .args(["admin", "points", "import", "--tenant", tenant, "--config"])
            .arg(self.path("stipend.toml"))
            .args(flags)
            .arg(self.path(file))
            .env("STIPEND__DATABASE__URL", &self.db.runtime_url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn import(&self, flags: &[&str]) -> Said {
        self.import_file("points.csv", flags)
    }

    fn import_file(&self, file: &str, flags: &[&str]) -> Said {
        self.command(file, flags).output().unwrap().into()
    }

    /// What is available to a user, in micropoints.
    async fn available(&self, name: &str) -> Option<u64> {
        let name: ExternalId = name.parse().unwrap();
        let account = self.store.account_by_name(self.tenant, &name).await.unwrap()?;
        let found = self.store.balances(self.tenant, account).await.unwrap().unwrap();
        Some(found.balances.available.micropoints())
    }

    /// Waits until the user has an account.
    async fn reaches(&self, name: &str) {
        let begun = Instant::now();
        while self.available(name).await.is_none() {
            assert!(begun.elapsed() < PATIENCE, "the import does not reach {name}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn finish(self) {
        self.store.close().await;
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            success: output.status.success(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    /// The lines of one outcome in the summary.
    fn lines(&self, outcome: &str) -> u64 {
        let said = self.out.lines().find_map(|line| line.trim_start().strip_prefix(outcome));
        let said = said.unwrap_or_else(|| panic!("{outcome} is not in {}{}", self.out, self.err));
        said.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
    }

    fn refuses(&self, words: &[&str]) {
        assert!(!self.success, "{}", self.out);
        for words in words {
            assert!(self.err.contains(words), "{words:?} is not in {}", self.err);
        }
    }
}

/// So many credits of 1.5 points, ten to an account.
fn opening(lines: u64) -> String {
    let mut text = HEADER.to_owned();
    for number in 0..lines {
        writeln!(text, "user-{},1.5,opening balance,opening-{number}", number / 10).unwrap();
    }
    text
}

#[tokio::test]
async fn a_file_is_credited_once_however_often_it_is_imported() {
    let shop = Shop::new(&opening(1_000)).await;
    let said = shop.import(&["--create-accounts"]);
    assert!(said.success, "{}", said.err);
    assert_eq!(said.out.lines().next(), Some("1000 lines, 1500 points"));
    assert_eq!((said.lines("applied"), said.lines("refused")), (1_000, 0));
    for batch in ["1", "7", "5000"] {
        let again = shop.import(&["--batch", batch]);
        assert!(again.success, "{}", again.err);
        assert_eq!((again.lines("applied"), again.lines("replayed, credited before")), (0, 1_000));
    }
    for user in [0, 57, 99] {
        assert_eq!(shop.available(&format!("user-{user}")).await, Some(15_000_000));
    }
    assert!(!shop.path("points.refused.csv").exists());
    shop.finish().await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let shop = Shop::new(&opening(30)).await;
    shop.import(&["--create-accounts"]);
    let mut text = opening(40).replace("user-0,1.5,opening balance,opening-3\n", "");
    text.push_str("user-0,2,opening balance,opening-3\nuser-7,0.000001,gift,gift\n");
    shop.write(&text);
    let said = shop.import(&["--dry-run", "--create-accounts"]);
    said.refuses(&["line 41: reference_conflict", "another amount", "1 line(s) would be refused"]);
    assert_eq!(
        said.out.lines().next(),
        Some("dry run, nothing is changed: 41 lines, 60.500001 points")
    );
    assert_eq!(said.lines("to be credited"), 11);
    assert_eq!(said.lines("credited before"), 29);
    assert_eq!(said.lines("to be refused"), 1);
    assert_eq!(said.lines("new accounts"), 2);
    assert_eq!(shop.available("user-3").await, None);
    let said = shop.import(&["--dry-run"]);
    said.refuses(&["line 31: account_not_found", "12 line(s) would be refused"]);
    assert!(!shop.path("points.refused.csv").exists());
    shop.finish().await;
}

#[tokio::test]
async fn a_file_with_mistakes_credits_nothing_and_each_is_told_by_its_line() {
    let text = [
        "reference,external_id,amount,reason",
        "a,ann,1,ok",
        "b,ann,0,zero",
        "c,ann,1.1234567,too precise",
        "d,ann,-1,negative",
        "e,,1,no name",
        "f,ann,1",
        "g,ann,1,one,two",
        "h,ann,1,\"a quote is open",
        "",
        "i,ann,1,",
        "a,ann,1,ok",
        "a,bob,1,of another account",
    ]
    .join("\r\n");
    let mut text = text.into_bytes();
    text.extend(b"\nj,ann,1,\xff\nk,ann,1,");
    text.extend("x".repeat(20_000).into_bytes());
    text.extend(b"\nl,ann,1,a,b,c,d,e,f,g,h,i");
    let shop = Shop::new("").await;
    fs::write(shop.path("points.csv"), text).unwrap();
    for flags in [&["--create-accounts"][..], &["--create-accounts", "--dry-run"]] {
        let said = shop.import(flags);
        said.refuses(&[
            "line 3: an amount must be more than 0",
            "line 4: amount: an amount has at most 6 decimal places",
            "line 5: amount: an amount is a decimal string",
            "line 6: externalId must be 1 to 128 characters",
            "line 7: the line has 3 fields, the header 4",
            "line 8: the line has 5 fields, the header 4",
            "line 9: a quote is open at the end of the line",
            "line 11: reason must be 1 to 500 characters",
            "line 12: the same external_id and reference as in line 2",
            "line 14: the line is not UTF-8",
            "line 15: the line is longer than 16384 bytes",
            "line 16: the line has too many fields",
            "12 line(s) of",
            "nothing was credited",
        ]);
        assert!(!said.err.contains("line 13:"), "{}", said.err);
    }
    assert_eq!(shop.available("ann").await, None);
    shop.finish().await;
}

#[tokio::test]
async fn very_many_mistakes_are_counted_and_the_first_hundred_told() {
    let mut text = HEADER.to_owned();
    for number in 0..250 {
        writeln!(text, "ann,0,zero,{number}").unwrap();
    }
    let shop = Shop::new(&text).await;
    let said = shop.import(&[]);
    said.refuses(&["line 101: an amount", "… and 150 more", "250 line(s) of"]);
    assert!(!said.err.contains("line 102:"), "{}", said.err);
    shop.finish().await;
}

#[tokio::test]
async fn a_file_without_its_header_is_refused() {
    let shop = Shop::new("").await;
    for (text, words) in [
        ("", "the column external_id is missing"),
        ("external_id,amount,reason,reference", "has no lines"),
        ("external_id,amount,reason,reference\n\n\n", "has no lines"),
        ("external_id,amount,reason\nann,1,x", "the column reference is missing"),
        ("external_id,amount,reason,reference,buckets\n", "the column \"buckets\" is unknown"),
        ("amount,amount,external_id,reason,reference\n", "the column amount stands twice"),
        ("ann,1,x,y\n", "the column \"ann\" is unknown"),
    ] {
        shop.write(text);
        shop.import(&[]).refuses(&[words]);
    }
    shop.import_file("missing.csv", &[]).refuses(&["missing.csv cannot be read"]);
    let said = shop.command_for("nobody", "points.csv", &[]).output().unwrap();
    Said::from(said).refuses(&["there is no tenant nobody"]);
    shop.finish().await;
}

#[tokio::test]
async fn refused_lines_are_written_down_and_can_be_imported_once_corrected() {
    let shop = Shop::new(
        "\u{feff}external_id,amount,reason,reference\r\n\
        ann,1,\"a \"\"good\"\" one, and more\",a\r\nbob,2,x,b\r\nann,9223372036854.775807,x,c",
    )
    .await;
    let ann = "ann".parse().unwrap();
    shop.store.ensure_account(shop.tenant, &ann).await.unwrap();
    let said = shop.import(&[]);
    said.refuses(&["2 line(s) were refused"]);
    assert_eq!((said.lines("applied"), said.lines("refused")), (1, 2));
    assert!(said.out.contains("points.refused.csv"), "{}", said.out);
    let refused = fs::read_to_string(shop.path("points.refused.csv")).unwrap();
    assert_eq!(
        refused,
        "external_id,amount,reason,reference,bucket,expires_at,line,code,detail\n\
        bob,2,x,b,,,3,account_not_found,there is no account of this name\n\
        ann,9223372036854.775807,x,c,,,4,balance_too_large,the account would hold more than 9223372036854.775807 points\n"
    );
    fs::write(shop.path("points.refused.csv"), refused.replace("9223372036854.775807,x", "5,x"))
        .unwrap();
    let said = shop.import_file("points.refused.csv", &["--create-accounts"]);
    assert!(said.success, "{}", said.err);
    assert_eq!(shop.available("ann").await, Some(6_000_000));
    assert_eq!(shop.available("bob").await, Some(2_000_000));
    // With nothing refused any more, what an earlier import wrote down goes.
    shop.write(&format!("{HEADER}bob,2,x,b\n"));
    assert!(shop.import(&[]).success);
    assert!(!shop.path("points.refused.csv").exists());
    shop.finish().await;
}

/// Imports, ends the import with a signal while it is under way, and imports again.
async fn interrupted_by(signal: Signal) -> (Said, Said) {
    const LINES: u64 = 6_000;
    let shop = Shop::new(&opening(LINES)).await;
    let flags = ["--create-accounts", "--batch", "100"];
    let child = shop.command("points.csv", &flags).spawn().unwrap();
    shop.reaches("user-50").await;
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    let ended = Said::from(child.wait_with_output().unwrap());
    assert!(!ended.success, "it was under way: {}", ended.out);
    assert_eq!(shop.available("user-599").await, None, "it was under way");

    let again = shop.import(&flags);
    assert!(again.success, "{}", again.err);
    let (applied, replayed) = (again.lines("applied"), again.lines("replayed, credited before"));
    assert_eq!(applied + replayed, LINES);
    assert!(replayed >= 500 && applied > 0, "{applied} applied, {replayed} replayed");
    for user in 0..LINES / 10 {
        assert_eq!(shop.available(&format!("user-{user}")).await, Some(15_000_000), "user-{user}");
    }
    shop.finish().await;
    (ended, again)
}

#[tokio::test]
async fn an_import_that_is_killed_goes_on_and_the_sums_are_exact() {
    let (_, again) = interrupted_by(Signal::SIGKILL).await;
    assert_eq!(again.out.lines().next(), Some("6000 lines, 9000 points"));
}

#[tokio::test]
async fn an_import_that_is_stopped_says_so_and_what_is_done() {
    let (stopped, again) = interrupted_by(Signal::SIGINT).await;
    stopped.refuses(&["stopped before line", "run the import again"]);
    assert_eq!(stopped.lines("applied"), again.lines("replayed, credited before"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_imports_of_one_file_at_once_credit_each_line_once() {
    let shop = Shop::new(&opening(2_000)).await;
    let flags = ["--create-accounts", "--batch", "100"];
    let children = [(); 2].map(|()| shop.command("points.csv", &flags).spawn().unwrap());
    let said = children.map(|child| Said::from(child.wait_with_output().unwrap()));
    let sum = |outcome: &str| said.iter().map(|said| said.lines(outcome)).sum::<u64>();
    assert_eq!((sum("applied"), sum("replayed, credited before")), (2_000, 2_000));
    for user in 0..200 {
        assert_eq!(shop.available(&format!("user-{user}")).await, Some(15_000_000));
    }
    shop.finish().await;
}
