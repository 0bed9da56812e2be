//! Deviations that are planted in the database: the soak reports each of them.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::run::soak;
use super::{database, drop_database};

/// The most sequences that a deviation may stay hidden for.
const SEQUENCES: u64 = 400;

/// Plants a trigger and runs sequences until one fails; what it says.
async fn reported(table: &str, events: &str, body: &str) -> String {
    let db = database().await;
    let plant = format!(
        "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
        CREATE TRIGGER planted BEFORE {events} ON {table} FOR EACH ROW EXECUTE FUNCTION planted()"
    );
    let mut superuser = PgConnection::connect(&db.superuser_url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(plant)).execute(&mut superuser).await.unwrap();
    superuser.close().await.unwrap();
    let found = soak(&db, 1, SEQUENCES, 2).await;
    drop_database(&db).await;
    found.expect_err("the planted deviation was not found").why
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_refund_is_reported() {
    let lose = "IF NEW.reserved_micropoints < OLD.reserved_micropoints
            AND NEW.available_micropoints > OLD.available_micropoints THEN
            NEW.available_micropoints := OLD.available_micropoints;
        END IF;
        RETURN NEW;";
    let why = reported("accounts", "UPDATE", lose).await;
    assert!(why.contains("balances") || why.contains("account"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_tombstone_is_reported() {
    let forget =
        "IF NEW.kind = 'tcc' AND NEW.state = 'released' THEN RETURN NULL; END IF; RETURN NEW;";
    let why = reported("reservations", "INSERT", forget).await;
    assert!(why.contains("tcc."), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_applied_twice_is_reported() {
    let why = reported("movements", "INSERT", "RETURN NULL;").await;
    assert!(why.contains("reference"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_key_of_a_grant_is_reported() {
    let forget = "IF NEW.command = 'sponsor' THEN RETURN NULL; END IF; RETURN NEW;";
    let why = reported("command_keys", "INSERT", forget).await;
    assert!(why.contains("sponsor "), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_wish_to_cancel_is_reported() {
    let why = reported("reservations", "UPDATE", "NEW.closing := false; RETURN NEW;").await;
    assert!(why.contains("the list of sponsorships") || why.contains("Closed"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_was_not_committed_is_reported() {
    let other = "NEW.signature := sha512(NEW.signature); RETURN NEW;";
    let why = reported("grants", "INSERT", other).await;
    assert!(why.contains("handed out"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_outlives_its_block_is_reported() {
    let keep = "IF NOT NEW.canonical AND OLD.canonical THEN
            NEW.progress := 'undone';
            NEW.set_aside_reason := NULL;
        END IF;
        RETURN NEW;";
    let why = reported("chain_events", "UPDATE", keep).await;
    assert!(why.contains("nonce"), "{why}");
}
