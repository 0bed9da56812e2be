//! What leaves: closed reservations to the archive, old months to files. Nothing that a command needs goes with them,
//! and nobody waits.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::ledger::journal::genesis;
use domain::ledger::sponsorship::{FactOutcome, GrantRefusal};
use domain::ledger::tcc::{TccOutcome, TccRefusal};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::archive::{Departure, Detached, Exported, LOCK_WAIT, Leaving, Maintenance, Walked};
use store::journal::AsOf;
use store::partitions::{Attachment, Partitioned};
use store::sponsorships::{CloseOutcome, GrantAnswer};
use store::verify::{Checkpointed, Disagreement, Progress, Scope};
use store::views::ViewState;

use crate::Company;
use crate::builder::{CHAIN, HEAD, PATIENCE, User, VALIDITY, micro};
use crate::chain::landing;
use crate::settlement::{scene, state};

/// Old enough for keys to be forgotten, and three whole months.
const DAYS: u32 = 120;
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn maintenance(company: &Company) -> Maintenance {
    Maintenance::connect_lazy(&company.db.maintenance_url).unwrap()
}

/// A round through all closed reservations; how many moved.
async fn move_closed(company: &Company) -> u64 {
    let maintenance = maintenance(company);
    let (mut moved, mut next) = (0, Some(Walked::default()));
    while let Some(walked) = next {
        let step = maintenance.move_closed(walked).await.unwrap();
        (moved, next) = (moved + step.reservations, step.next);
    }
    maintenance.close().await;
    moved
}

async fn verify(company: &Company, scope: Scope) -> (Vec<Disagreement>, Progress) {
    let mut verification = company.store.verification(scope);
    let mut all = Vec::new();
    while let Some(found) = verification.step(&|_| {}).await.unwrap() {
        all.extend(found);
    }
    (all, verification.progress())
}

#[tokio::test]
async fn closed_tcc_reservations_move_when_their_keys_need_not_be_remembered() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    for biz_id in ["settled", "released", "open"] {
        ann.tries(biz_id, 10).await;
    }
    ann.confirms("settled", 4).await;
    ann.cancels("released").await;
    ann.cancels("tombstone").await;
    ann.tries("too much", 5_000).await;
    assert_eq!(move_closed(&company).await, 0, "none is old");
    company.db.backdate(29).await.unwrap();
    assert_eq!(move_closed(&company).await, 0, "biz ids are remembered for 30 days");
    company.db.backdate(2).await.unwrap();
    ann.tries("new", 10).await;
    ann.confirms("new", 10).await;
    assert_eq!(move_closed(&company).await, 4);
    assert_eq!(move_closed(&company).await, 0);
    let kept = "SELECT count(*) FROM reservations WHERE biz_id IN ('open', 'new')";
    assert_eq!(company.count(kept).await, 2);
    assert_eq!(company.count("SELECT count(*) FROM reservations").await, 2);
    assert_eq!(ann.balances().await, [976, 10, 14, 0]);
    assert_eq!(verify(&company, Scope::default()).await.0, []);
    company.finish().await;
}

#[tokio::test]
async fn a_confirm_or_cancel_of_long_ago_is_answered_by_what_was() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    for biz_id in ["settled", "released"] {
        ann.tries(biz_id, 10).await;
    }
    ann.confirms("settled", 4).await;
    ann.cancels("released").await;
    company.db.backdate(31).await.unwrap();
    assert_eq!(move_closed(&company).await, 2);
    assert_eq!(ann.confirms("settled", 4).await, TccOutcome::Replayed);
    assert_eq!(
        ann.cancels("settled").await,
        TccOutcome::Refused(TccRefusal::AlreadySettled { settled: micro(4) }),
        "no tombstone over what was spent"
    );
    assert_eq!(ann.cancels("released").await, TccOutcome::Replayed);
    assert_eq!(ann.confirms("released", 4).await, TccOutcome::Refused(TccRefusal::Cancelled));
    let settled = "settled".parse().unwrap();
    let view = company.store.tcc_reservation(ann.tenant, ann.account, &settled);
    assert!(view.await.unwrap().is_some(), "it is shown from the archive");
    assert_eq!(company.count("SELECT count(*) FROM reservations").await, 0);
    assert_eq!(ann.balances().await, [96, 0, 4, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_slot_that_is_closed_for_ever_refuses_without_its_reservation_and_without_the_chain() {
    let (company, ann, mut chain) = scene(1_000).await;
    let first = ann.operation(1, 60).granted().await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.release().await;
    let head = chain.head().timestamp.0;
    let second = ann.operation(1, 60).at(head).keyed("key").granted().await;
    let lonely = ann.operation(2, 60).at(head).granted().await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    chain.mine_past(head + VALIDITY).await;
    chain.finalise().await;
    chain.apply().await;
    chain.release().await;
    company.db.backdate(31).await.unwrap();
    assert_eq!(move_closed(&company).await, 2, "the landed attempt, and the one before it");
    let mut superuser = company.superuser().await;
    let kept = company.count("SELECT count(*) FROM reservations").await;
    assert_eq!(kept, 1, "a released slot may be tried again, or land late");
    // Not even the chain's events are asked.
    sqlx::raw_sql("CREATE TEMP TABLE kept AS TABLE chain_events; DELETE FROM chain_events")
        .execute(&mut superuser)
        .await
        .unwrap();
    assert_eq!(ann.operation(1, 60).at(head).refused().await, GrantRefusal::NonceUsed);
    sqlx::raw_sql("INSERT INTO chain_events TABLE kept").execute(&mut superuser).await.unwrap();
    assert_eq!(ann.operation(1, 90).at(head).refused().await, GrantRefusal::NonceUsed);
    let replay = ann.operation(1, 60).at(head).keyed("key").replayed().await;
    assert_eq!((replay.grant_no, replay.signature), (second.grant_no, second.signature));

    let moved: Vec<(sqlx::types::Uuid, String)> =
        sqlx::query_as("SELECT reservation_id, state FROM archived_reservations ORDER BY attempt")
            .fetch_all(&mut superuser)
            .await
            .unwrap();
    for ((id, _), expected) in moved.iter().zip([ViewState::Released, ViewState::SettledFinal]) {
        let id = domain::ReservationId(*id);
        assert_eq!(state(&company, id).await, expected);
        let (_, grants, timeline) =
            company.store.sponsorship(company.tenant, id).await.unwrap().unwrap();
        assert_eq!(grants.len(), 1);
        assert!(timeline.len() >= 2, "{timeline:?}");
    }
    let closed = company.store.close_sponsorship(company.tenant, domain::ReservationId(moved[1].0));
    assert_eq!(closed.await.unwrap(), CloseOutcome::Settled);
    assert_ne!(first.reservation, lonely.reservation);
    assert_eq!(verify(&company, Scope::default()).await.0, []);
    assert_eq!(ann.balances().await, [955, 0, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_late_landing_finds_its_released_attempt_however_long_ago_that_was() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.release().await;
    company.db.backdate(DAYS).await.unwrap();
    assert_eq!(move_closed(&company).await, 0);
    chain.mine(&[landing(&ann, 1, 45)]).await;
    let outcomes = chain.apply().await;
    assert!(
        matches!(
            outcomes[..],
            [(_, FactOutcome::Applied | FactOutcome::AppliedWithShortage { .. })]
        ),
        "{outcomes:?}"
    );
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    company.finish().await;
}

/// Two users whose lines are in a month that is over, and in this one.
async fn with_a_past() -> (Company, User, User) {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let idle = company.user("idle", 70).await;
    ann.tries("spent", 50).await;
    ann.confirms("spent", 20).await;
    ann.tries("kept", 30).await;
    company.db.backdate(DAYS).await.unwrap();
    let later = company.user("later", 5).await;
    assert_ne!(later.account, idle.account);
    ann.credit(7, "later").await;
    ann.tries("now", 5).await;
    (company, ann, idle)
}

/// The oldest month of a table that has rows.
async fn oldest(company: &Company, table: Partitioned) -> Leaving {
    let maintenance = maintenance(company);
    let due = maintenance.due(DAY * 62).await.unwrap();
    maintenance.close().await;
    due.into_iter().find(|leaving| leaving.partition.table == table).expect("a month is due")
}

async fn find(company: &Company, leaving: &Leaving) -> Leaving {
    let all = company.store.departures().await.unwrap();
    all.into_iter().find(|found| found.partition == leaving.partition).unwrap()
}

async fn checkpoint(company: &Company, leaving: &Leaving) -> Checkpointed {
    let mut after = None;
    loop {
        match company.store.checkpoint_month(leaving.partition.month, after).await.unwrap() {
            Checkpointed::Until(key) => after = Some(key),
            end @ (Checkpointed::All | Checkpointed::Refused(_)) => return end,
        }
    }
}

/// The whole text of a month.
async fn export(maintenance: &Maintenance, leaving: &Leaving) -> (Vec<u8>, u64) {
    let (mut csv, mut rows, mut after) = (Vec::new(), 0, None);
    loop {
        let page = maintenance.export_page(&leaving.partition, after.as_deref()).await.unwrap();
        csv.extend(page.csv);
        rows += page.rows;
        after = page.next;
        if after.is_none() {
            return (csv, rows);
        }
    }
}

/// All months of entries that are due are exported, as far as the database is concerned.
async fn exported(company: &Company) -> (Maintenance, Vec<(Leaving, Vec<u8>)>) {
    let maintenance = maintenance(company);
    let mut months = Vec::new();
    for leaving in maintenance.due(DAY * 62).await.unwrap() {
        if leaving.partition.table != Partitioned::Entries {
            continue;
        }
        assert_eq!(checkpoint(company, &leaving).await, Checkpointed::All);
        maintenance.note_prepared(&leaving.partition).await.unwrap();
        let (csv, rows) = export(&maintenance, &leaving).await;
        let exported = Exported { file_name: "a file".to_owned(), sha256: [7; 32], rows };
        maintenance.note_exported(&leaving.partition, &exported).await.unwrap();
        months.push((leaving, csv));
    }
    (maintenance, months)
}

#[tokio::test]
async fn books_whose_old_months_are_gone_are_verified_from_the_checkpoints() {
    let (company, ann, idle) = with_a_past().await;
    let (_, all) = verify(&company, Scope::default()).await;
    assert_eq!((all.accounts, all.from_checkpoint), (3, 0));
    let (maintenance, months) = exported(&company).await;
    let until = months.last().unwrap().0.partition.month.next().begins().unwrap();
    assert_eq!(verify(&company, Scope::default()).await, (vec![], all), "nothing has left");
    for (leaving, _) in &months {
        assert_eq!(maintenance.detach(&leaving.partition).await.unwrap(), Detached::Done);
        assert!(!maintenance.drop_partition(&leaving.partition, &[8; 32]).await.unwrap());
        assert!(find(&company, leaving).await.view.is_some(), "another digest drops nothing");
        assert!(maintenance.drop_partition(&leaving.partition, &[7; 32]).await.unwrap());
        let found = find(&company, leaving).await;
        assert!(found.view.is_none() && matches!(found.departure, Departure::Dropped(_)));
    }
    let lines = company.count("SELECT count(*) FROM entries").await;
    let (found, progress) = verify(&company, Scope::default()).await;
    assert_eq!((found, progress.from_checkpoint), (vec![], 2));
    assert_eq!(progress.entries, u64::try_from(lines).unwrap());
    assert!(progress.entries < all.entries);

    // Commands and repeats of what is in the archive go on.
    let replayed = ann.credit(1_000, "opening").await;
    assert!(matches!(replayed, store::funds::FundsOutcome::Replayed(_)), "{replayed:?}");
    ann.confirms("kept", 10).await;
    assert_eq!(idle.balances().await, [70, 0, 0, 0]);

    // The past: what the checkpoints say is told, and nothing else is made up.
    let time = |at: time::OffsetDateTime| {
        domain::ledger::tcc::DbTime(i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap())
    };
    let as_of = |at| company.store.head_as_of(idle.tenant, idle.account, time(at));
    let AsOf::Closed(head) = as_of(until).await.unwrap() else { panic!("not told") };
    assert_eq!((head.seq, head.balances.available.micropoints()), (1, 70));
    assert_ne!(head.hash, genesis(idle.tenant, idle.account));
    let before = until - time::Duration::days(300);
    assert_eq!(as_of(before).await.unwrap(), AsOf::Archived);

    // A hand at work is still seen.
    let mut superuser = company.superuser().await;
    let tamper = "UPDATE checkpoints SET available_micropoints = available_micropoints + 1
        WHERE account_id = (SELECT account_id FROM account_names WHERE external_id = 'ann')";
    sqlx::raw_sql(tamper).execute(&mut superuser).await.unwrap();
    let (found, _) = verify(&company, Scope::default()).await;
    assert_eq!(found.iter().map(|found| found.account).collect::<Vec<_>>(), [ann.account]);
}

#[tokio::test]
async fn what_was_exported_can_be_put_back_and_the_books_are_whole_again() {
    let (company, ..) = with_a_past().await;
    let (_, all) = verify(&company, Scope::default()).await;
    let (maintenance, months) = exported(&company).await;
    for (leaving, _) in &months {
        maintenance.detach(&leaving.partition).await.unwrap();
        maintenance.drop_partition(&leaving.partition, &[7; 32]).await.unwrap();
    }
    let mut owner = PgConnection::connect(&company.db.maintenance_url).await.unwrap();
    for (leaving, csv) in &months {
        let name = leaving.partition.name();
        let make = format!("CREATE TABLE {name} (LIKE entries INCLUDING ALL)");
        sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut owner).await.unwrap();
        let copy = format!("COPY {name} FROM STDIN (FORMAT csv, HEADER true)");
        let mut sink = owner.copy_in_raw(&copy).await.unwrap();
        sink.send(csv.as_slice()).await.unwrap();
        let rows = sink.finish().await.unwrap();
        let Departure::Dropped(exported) = find(&company, leaving).await.departure else {
            panic!("it was dropped")
        };
        assert_eq!(rows, exported.rows);
        let (from, until) = (leaving.partition.month, leaving.partition.month.next());
        let attach = format!(
            "ALTER TABLE entries ATTACH PARTITION {name}
            FOR VALUES FROM ('{} 00:00:00+00') TO ('{} 00:00:00+00')",
            from.begins().unwrap().date(),
            until.begins().unwrap().date()
        );
        sqlx::raw_sql(AssertSqlSafe(attach)).execute(&mut owner).await.unwrap();
    }
    assert_eq!(verify(&company, Scope::default()).await, (vec![], all));
    company.finish().await;
}

#[tokio::test]
async fn a_month_with_a_line_that_disagrees_stays() {
    let (company, ann, _) = with_a_past().await;
    let mut superuser = company.superuser().await;
    let tamper = "UPDATE entries SET amount_micropoints = 21 WHERE seq = 3 AND kind = 'confirm'";
    sqlx::raw_sql(tamper).execute(&mut superuser).await.unwrap();
    let mut refused = 0;
    for leaving in maintenance(&company).due(DAY * 62).await.unwrap() {
        if leaving.partition.table == Partitioned::Entries
            && let Checkpointed::Refused(found) = checkpoint(&company, &leaving).await
        {
            assert_eq!((found.len(), found[0].account, found[0].seq), (1, ann.account, Some(3)));
            refused += 1;
        }
    }
    assert!(refused > 0);
    let checkpoints =
        "SELECT count(*) FROM checkpoints JOIN account_names USING (tenant_id, account_id)
        WHERE external_id = 'ann'";
    assert_eq!(company.count(checkpoints).await, 0);
    let leaving = oldest(&company, Partitioned::Entries).await;
    let error = maintenance(&company).detach(&leaving.partition).await.unwrap_err();
    assert!(error.to_string().contains("not exported"), "{error}");
}

#[tokio::test]
async fn an_open_transaction_keeps_a_month_and_nobody_waits_for_it() {
    let (company, ann, _) = with_a_past().await;
    let (maintenance, months) = exported(&company).await;
    let leaving = &months[0].0;
    // Somebody looks at the journal and goes to lunch.
    let mut reader = PgConnection::connect(&company.db.superuser_url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM entries").execute(&mut reader).await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (ann, stop) = (ann.clone(), Arc::clone(&stop));
        async move {
            let mut rounds = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                ann.credit(1, &format!("round {rounds}")).await;
                rounds += 1;
            }
            rounds
        }
    });
    let commands = "SELECT entry_seq FROM accounts ORDER BY entry_seq DESC LIMIT 1";
    for _ in 0..3 {
        let before = company.count(commands).await;
        let detach = tokio::time::timeout(PATIENCE, maintenance.detach(&leaving.partition));
        assert_eq!(detach.await.unwrap().unwrap(), Detached::NotYet);
        assert!(company.count(commands).await > before, "commands went on meanwhile");
        let found = find(&company, leaving).await;
        assert_eq!(found.view.map(|view| view.attachment), Some(Attachment::Leaving));
        assert!(!maintenance.drop_partition(&leaving.partition, &[7; 32]).await.unwrap());
        // New readers do not see it, and are told where it is.
        assert_eq!(verify(&company, Scope::default()).await.0, []);
    }
    assert!(LOCK_WAIT < Duration::from_secs(1));
    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    let finished = async {
        while maintenance.detach(&leaving.partition).await.unwrap() == Detached::NotYet {}
    };
    tokio::time::timeout(PATIENCE, finished).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    assert!(load.await.unwrap() > 3);
    let found = find(&company, leaving).await;
    assert_eq!(found.view.map(|view| view.attachment), Some(Attachment::Apart));
    assert!(maintenance.drop_partition(&leaving.partition, &[7; 32]).await.unwrap());
    assert_eq!(verify(&company, Scope::default()).await.0, []);
}

#[tokio::test]
async fn a_month_of_archived_reservations_leaves_its_sums() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    for round in 0..5 {
        ann.tries(&format!("biz {round}"), 10).await;
        ann.confirms(&format!("biz {round}"), 6).await;
    }
    ann.tries("gone", 10).await;
    ann.cancels("gone").await;
    company.db.backdate(DAYS).await.unwrap();
    assert_eq!(move_closed(&company).await, 6);
    // As if they had been moved in the month after they closed.
    let mut superuser = company.superuser().await;
    let earlier =
        "UPDATE archived_reservations SET archived_at = archived_at - interval '100 days'";
    sqlx::raw_sql(earlier).execute(&mut superuser).await.unwrap();
    ann.tries("now", 5).await;
    ann.confirms("now", 5).await;
    let maintenance = maintenance(&company);
    for leaving in maintenance.due(DAY * 62).await.unwrap() {
        let partition = &leaving.partition;
        if partition.table != Partitioned::Reservations {
            continue;
        }
        let mut after = None;
        while let Some(key) = maintenance.keep_sums(partition, after).await.unwrap() {
            after = Some(key);
        }
        maintenance.note_prepared(partition).await.unwrap();
        let (_, rows) = export(&maintenance, &leaving).await;
        let exported = Exported { file_name: "a file".to_owned(), sha256: [7; 32], rows };
        maintenance.note_exported(partition, &exported).await.unwrap();
        maintenance.detach(partition).await.unwrap();
        assert!(maintenance.drop_partition(partition, &[7; 32]).await.unwrap());
    }
    assert_eq!(company.count("SELECT count(*) FROM archived_reservations").await, 0);
    assert_eq!(verify(&company, Scope::default()).await.0, []);
    sqlx::raw_sql("UPDATE archived_sums SET spent_micropoints = 31")
        .execute(&mut superuser)
        .await
        .unwrap();
    let (found, _) = verify(&company, Scope::default()).await;
    assert_eq!(found.len(), 1, "the sums count: {found:?}");
}

#[tokio::test]
async fn one_worker_has_the_turn_and_another_takes_it_when_it_ends() {
    let company = Company::new().await;
    let (one, other) = (maintenance(&company), maintenance(&company));
    assert!(one.take_turn().await.unwrap());
    assert!(one.take_turn().await.unwrap(), "it keeps it");
    assert!(!other.take_turn().await.unwrap());
    one.end_turn().await.unwrap();
    assert!(other.take_turn().await.unwrap());
    // One that died gives nothing back.
    let mut superuser = company.superuser().await;
    let past = "UPDATE maintenance_turns SET held_until = clock_timestamp()";
    sqlx::raw_sql(past).execute(&mut superuser).await.unwrap();
    assert!(one.take_turn().await.unwrap());
    company.finish().await;
}

#[tokio::test]
async fn months_in_which_a_final_settlement_waits_for_people_keep_it() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    chain.finalise().await;
    chain.apply().await;
    company.db.backdate(31).await.unwrap();
    let mut superuser = company.superuser().await;
    let aside = "UPDATE chain_events SET progress = 'set_aside', set_aside_reason = 'test'";
    sqlx::raw_sql(aside).execute(&mut superuser).await.unwrap();
    assert_eq!(move_closed(&company).await, 0);
    let done = "UPDATE chain_events SET progress = 'finalised', set_aside_reason = NULL";
    sqlx::raw_sql(done).execute(&mut superuser).await.unwrap();
    assert_eq!(move_closed(&company).await, 1);
    let answer = ann.operation(1, 60).sponsor().await;
    assert_eq!(answer, GrantAnswer::Refused(GrantRefusal::NonceUsed));
    assert_eq!(company.store.releasable(CHAIN, 10).await.unwrap(), []);
    company.finish().await;
}
