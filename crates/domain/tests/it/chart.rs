//! `docs/ledger.md` says what the code does: its chart, tables and diagrams are printed from here.

use std::fmt::Write as _;
use std::fs;

use domain::ledger::Column;
use domain::ledger::tcc::TccCommand;

use crate::account::Account;
use crate::fixtures::{HEAD, VALIDITY, confirm_of, landed, release_proof, request, slot, try_for};
use crate::machines::{
    SPONSORSHIP_STATES, TCC_STATES, diagram, gained, sponsorship_rows, table, tcc_rows,
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ledger.md");

/// An event of the chart: its name, what comes before it, and the event itself.
type Event = (&'static str, fn(&mut Account), fn(&mut Account));

fn nothing(_: &mut Account) {}

fn opened(account: &mut Account) {
    account.grant(0, &request(1, 60));
}

fn released(account: &mut Account) {
    opened(account);
    account.cancel(0, &release_proof(slot(0), HEAD + VALIDITY + 1));
}

fn provisional(account: &mut Account) {
    opened(account);
    account.confirm(&landed(1, 50));
}

fn short(account: &mut Account) {
    opened(account);
    account.confirm(&landed(1, 130));
}

fn short_and_repaid_in_part(account: &mut Account) {
    short(account);
    account.credit(10).unwrap();
}

fn tried(account: &mut Account) {
    account.tcc(0, &try_for(60));
}

fn credit(account: &mut Account) {
    account.credit(100).unwrap();
}

fn undo_of_the_shortage(account: &mut Account) {
    account.undo(&landed(1, 130));
}

/// Each event happens to an account of 100 points, of which a grant or try takes 60.
const EVENTS: [Event; 17] = [
    ("credit", nothing, credit),
    ("credit of a user who owes", short, credit),
    ("debit", nothing, |account| account.debit(10).unwrap()),
    ("expiry", nothing, |account| account.expire(10)),
    ("grant", nothing, opened),
    ("grant, a bump", opened, |account| {
        account.grant(0, &request(2, 70));
    }),
    ("confirm(fact)", opened, |account| {
        account.confirm(&landed(1, 50));
    }),
    ("confirm(fact) of more than was held", opened, |account| {
        account.confirm(&landed(1, 130));
    }),
    ("late landing", released, |account| {
        account.confirm(&landed(1, 130));
    }),
    ("undo(fact)", provisional, |account| {
        account.undo(&landed(1, 50));
    }),
    ("undo(fact) of more than was held", short, undo_of_the_shortage),
    ("the same, the debt repaid in part", short_and_repaid_in_part, undo_of_the_shortage),
    ("finalise(fact)", provisional, |account| {
        account.finalise(&landed(1, 50));
    }),
    ("cancel(proof)", opened, |account| {
        account.cancel(0, &release_proof(slot(0), HEAD + VALIDITY + 1));
    }),
    ("TCC try", nothing, tried),
    ("TCC confirm(x)", tried, |account| {
        account.tcc(0, &confirm_of(25));
    }),
    ("TCC cancel, expire", tried, |account| {
        account.tcc(0, &TccCommand::Cancel);
    }),
];

fn chart() -> String {
    let mut text = String::from("| event | postings |\n| --- | --- |");
    let mut used = String::new();
    for (name, before, event) in EVENTS {
        let mut account = Account::with(100);
        before(&mut account);
        let known = account.postings.len();
        event(&mut account);
        account.check_books();
        let postings = gained(&account, known).join(" · ");
        assert!(!postings.is_empty(), "{name} moves points");
        write!(text, "\n| {name} | {postings} |").unwrap();
        used.push_str(&postings);
    }
    let unused = Column::ALL.iter().filter(|column| !used.contains(column.as_str()));
    let unused: Vec<_> = unused.map(|column| format!("`{column}`")).collect();
    write!(text, "\n\nColumns that no event moves yet: {}.", unused.join(", ")).unwrap();
    text
}

/// The page with the part between `<!-- name -->` and `<!-- /name -->` replaced.
fn with_part(page: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let (before, rest) = page.split_once(&begin).expect("the page has the part's first mark");
    let (_, after) = rest.split_once(&end).expect("the page has the part's last mark");
    format!("{before}{begin}\n{part}\n{end}{after}")
}

#[test]
fn the_ledger_page_says_what_the_code_does() {
    let (tcc, sponsorship) = (tcc_rows(), sponsorship_rows());
    let page = fs::read_to_string(PAGE).expect("docs/ledger.md is there");
    let parts = [
        ("chart", chart()),
        ("tcc-table", table(&TCC_STATES, &tcc)),
        ("tcc-diagram", diagram(&tcc)),
        ("sponsorship-table", table(&SPONSORSHIP_STATES, &sponsorship)),
        ("sponsorship-diagram", diagram(&sponsorship)),
    ];
    let printed =
        parts.iter().fold(page.clone(), |page, (name, part)| with_part(&page, name, part));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PAGE, &printed).unwrap();
    } else {
        assert_eq!(page, printed, "UPDATE_DOCS=1 cargo test -p domain brings it up to date");
    }
}
