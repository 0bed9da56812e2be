//! A soak of the whole store on a real PostgreSQL: commands of all kinds from several callers to several processes, with
//! duplicates, conflicts, lost answers and crashes between any two statements, against a model that keeps nothing but a
//! list of what happened.
//!
//! | file | what |
//! | --- | --- |
//! | [`script`] | what a sequence does, from its seed |
//! | [`process`] | connections that are cut, callers that go away, processes that die |
//! | [`world`] · [`steps`] | the company, its chain, and each step carried out until it is answered |
//! | [`model`] · [`request`] · [`answers`] | the list of what happened, and what it answers |
//! | [`explain`] | whether the answers of concurrent callers can be explained by one such list |
//! | [`books`] | the six invariants and every way to read the books, after each sequence |
//! | [`run`] | many sequences side by side, and what they met |
//! | [`planted`] | proof that the soak finds what is wrong |
//!
//! `cargo xtask nightly` runs more of it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a look-up in a history asks for one kind of event and passes over all others"
)]

mod answers;
mod books;
mod explain;
mod model;
mod planted;
mod process;
mod request;
mod run;
mod script;
mod steps;
mod world;

use devstack::postgres::{TestDatabase, test_database};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Sequences of an ordinary test run: less than a minute.
const SEQUENCES: u64 = 200;
/// Sequences on one database, so that a long run does not fill the disk.
const SEQUENCES_OF_ONE_DATABASE: u64 = 5_000;
/// Sequences under way at once: while one waits for its answers, others use the machine.
const WORKERS: u64 = 6;

async fn database() -> TestDatabase {
    let db =
        test_database(async |owner_url| store::migrate(&owner_url).await.unwrap()).await.unwrap();
    // Connections are short-lived here: each statement is planned once and not five times.
    let plans = format!("ALTER DATABASE {} SET plan_cache_mode = force_generic_plan", db.name);
    let mut superuser = PgConnection::connect(&db.superuser_url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(plans)).execute(&mut superuser).await.unwrap();
    superuser.close().await.unwrap();
    db
}

async fn drop_database(db: &TestDatabase) {
    let server = db.superuser_url.strip_suffix(&db.name).unwrap();
    let mut superuser = PgConnection::connect(&format!("{server}postgres")).await.unwrap();
    let drop = format!("DROP DATABASE {} WITH (FORCE)", db.name);
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut superuser).await.unwrap();
}

/// A number that `cargo xtask nightly` hands over.
#[expect(clippy::disallowed_methods, reason = "a run of another length is asked for from outside")]
fn wish(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|wish| wish.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn any_interleaving_with_any_crash_answers_as_the_list_of_what_happened_says() {
    let sequences = wish("STIPEND_SOAK_SEQUENCES").unwrap_or(SEQUENCES);
    let mut seed = wish("STIPEND_SOAK_SEED").unwrap_or(1);
    let mut left = sequences;
    let mut total = run::Tally::default();
    while left > 0 {
        let some = left.min(SEQUENCES_OF_ONE_DATABASE);
        let db = database().await;
        match run::soak(&db, seed, some, WORKERS).await {
            Ok(tally) => total.add(&tally),
            Err(found) => panic!("{}", run::shrink(&db, *found).await),
        }
        drop_database(&db).await;
        left -= some;
        println!("seeds {seed} to {}, in all:\n{total}", seed + some - 1);
        seed += some;
    }
    assert!(total.has_met_everything(), "a run that met too little says nothing: {total}");
}
