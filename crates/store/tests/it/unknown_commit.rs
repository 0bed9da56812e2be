//! Connections that die while a command runs: after it, the answer is right and nothing is doubled.

use core::time::Duration;

use domain::ReservationId;
use domain::ledger::sponsorship::{CancelOutcome, FactOutcome};
use domain::ledger::tcc::TccOutcome;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::cursor::CursorMove;
use store::funds::{Direction, FundsOutcome};
use store::sponsorships::{CloseOutcome, GrantAnswer};
use store::tcc::{TccAnswer, TccRequest};
use store::views::ViewState;
use store::{Store, StoreError};

use crate::Company;
use crate::builder::{CHAIN, HEAD, PATIENCE, User, VALIDITY, micro, try_for, until_known};
use crate::chain::{Chain, block_after, landing};
use crate::tcc_races::{hold, let_go};

/// Backends of the store's own connections to this database.
const BACKENDS: &str = "FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'stipend'";

/// A moment that every deployment meets: the commit is durable, its answer is lost. PostgreSQL is told
/// to wait for a standby that does not exist, so that a commit is done and hangs before it answers;
/// then its connection is killed.
struct LostAnswer {
    superuser: PgConnection,
    database: String,
}

impl LostAnswer {
    async fn prepare(company: &Company) -> Self {
        let mut superuser = company.superuser().await;
        // Only databases that ask for synchronous commits wait; the other tests' do not.
        sqlx::raw_sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            .execute(&mut superuser)
            .await
            .unwrap();
        sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut superuser).await.unwrap();
        let lost = Self { superuser, database: company.db.name.clone() };
        lost.until_commits_wait(company).await;
        lost
    }

    /// The reload reaches the server's processes at their own pace: commits until one waits.
    async fn until_commits_wait(&self, company: &Company) {
        let probing = async {
            loop {
                let mut probe = company.superuser().await;
                let set = "SET synchronous_commit = on; SET application_name = 'probe'";
                sqlx::raw_sql(set).execute(&mut probe).await.unwrap();
                let commit = sqlx::raw_sql("SELECT pg_logical_emit_message(true, 'probe', '')")
                    .execute(&mut probe);
                if tokio::time::timeout(Duration::from_millis(300), commit).await.is_err() {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, probing).await.unwrap();
        let mut superuser = company.superuser().await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'probe'";
        sqlx::raw_sql(end).execute(&mut superuser).await.unwrap();
    }

    async fn synchronous_commit(&mut self, setting: &str) {
        let statement =
            format!("ALTER DATABASE {} SET synchronous_commit = {setting}", self.database);
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.superuser).await.unwrap();
    }

    /// Runs a command on a connection of its own and loses the answer of its first commit.
    async fn on<T: Send + 'static>(
        &mut self,
        company: &Company,
        command: impl AsyncFnOnce(Store) -> T,
    ) -> T {
        self.synchronous_commit("on").await;
        let store = company.replica(1);
        let losing = async {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'
                AND datname = current_database() AND application_name = 'stipend'";
            company.eventually(waiting, 1).await;
            self.synchronous_commit("off").await;
            let kill =
                format!("SELECT pg_terminate_backend(pid) {BACKENDS} AND wait_event = 'SyncRep'");
            sqlx::raw_sql(AssertSqlSafe(kill)).execute(&mut self.superuser).await.unwrap();
        };
        let (answer, ()) = tokio::join!(command(store.clone()), losing);
        store.close().await;
        answer
    }
}

#[tokio::test]
async fn a_credit_whose_answer_was_lost_is_found_by_its_key() {
    let company = Company::new().await;
    let ann = company.user("ann", 0).await;
    let mut lost = LostAnswer::prepare(&company).await;
    let command = ann.movement(Direction::Credit, 10, "welcome");
    let answer = lost.on(&company, async |store| store.move_funds(&command).await.unwrap()).await;
    let FundsOutcome::Replayed(movement) = answer else { panic!("{answer:?}") };
    assert_eq!((movement.entry_seq, movement.available_after), (1, micro(10)));
    assert_eq!(ann.balances().await, [10, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_tcc_command_whose_answer_was_lost_is_found_by_its_biz_id() {
    let company = Company::new().await;
    let ann = company.user("ann", 200).await;
    let mut lost = LostAnswer::prepare(&company).await;
    for biz_id in ["spent", "returned"] {
        let end = match biz_id {
            "spent" => TccRequest::Confirm { amount: Some(micro(45)) },
            _ => TccRequest::Cancel,
        };
        for request in [try_for(60), end] {
            let call = ann.tcc_call(biz_id, request);
            let answer = lost.on(&company, async |store| store.tcc(&call).await.unwrap()).await;
            assert!(matches!(answer, TccAnswer::Decided(TccOutcome::Replayed, Some(_))));
        }
    }
    assert_eq!(ann.balances().await, [155, 0, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_refusal_whose_answer_was_lost_is_the_same_refusal() {
    let company = Company::new().await;
    let ann = company.user("ann", 50).await;
    let mut lost = LostAnswer::prepare(&company).await;
    let call = ann.tcc_call("trip", try_for(60));
    let answer = lost.on(&company, async |store| store.tcc(&call).await.unwrap()).await;
    assert!(matches!(answer, TccAnswer::Decided(TccOutcome::Refused(_), Some(_))));
    assert_eq!(company.count("SELECT count(*) FROM reservations").await, 1);
    company.finish().await;
}

#[tokio::test]
async fn a_grant_whose_answer_was_lost_is_handed_out_with_the_signature_that_was_committed() {
    let company = Company::new().await;
    let ann = company.user("ann", 200).await;
    let mut lost = LostAnswer::prepare(&company).await;
    for (nonce, operation) in [(1, ann.operation(1, 60)), (2, ann.operation(2, 60).keyed("key"))] {
        let answer =
            lost.on(&company, async |store| operation.through(&store).sponsor().await).await;
        let GrantAnswer::Replayed(grant) = answer else { panic!("{answer:?}") };
        let slot = ann.slot(nonce);
        let open = company.store.open_sponsorship(ann.tenant, ann.account, &slot);
        assert_eq!(open.await.unwrap().unwrap().grants, [grant]);
    }
    assert_eq!(ann.balances().await, [80, 120, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn the_ingesters_and_appliers_steps_survive_a_lost_answer() {
    let company = Company::new().await;
    let ann = company.user("ann", 200).await;
    let mut chain = Chain::start(&company.store).await;
    let id: ReservationId = ann.operation(1, 60).granted().await.reservation;
    let released = ann.operation(2, 60).granted().await.reservation;
    let mut lost = LostAnswer::prepare(&company).await;

    let block = block_after(&chain.head(), &[landing(&ann, 1, 45)]);
    let moved =
        lost.on(&company, async |store| store.extend_cursor(CHAIN, &block).await.unwrap()).await;
    // The cursor stands where it should; the ingester reads it again.
    assert_eq!(moved, CursorMove::Lost);
    assert_eq!(company.store.cursor(CHAIN).await.unwrap().unwrap().head, block.block);

    let work = chain.work().await[0];
    let owner = company.store.owner_of(&work.fact).await.unwrap().unwrap();
    let applied =
        lost.on(&company, async |store| store.apply_fact(owner, &work).await.unwrap()).await;
    assert_eq!(applied, FactOutcome::Replayed);
    company.store.finish_work(&work).await.unwrap();
    assert_eq!(ann.balances().await, [80, 75, 45, 0]);

    let closed = lost
        .on(&company, async |store| store.close_sponsorship(ann.tenant, released).await.unwrap())
        .await;
    assert!(matches!(closed, CloseOutcome::Closing(_)));

    chain.follow(&block);
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    let proof = company.store.releasable(CHAIN, 10).await.unwrap()[0];
    let outcome = lost.on(&company, async |store| store.release(&proof).await.unwrap()).await;
    assert_eq!(outcome, CancelOutcome::Replayed);
    chain.apply().await;
    assert_eq!(ann.balances().await, [155, 0, 45, 0]);
    let (view, ..) = company.store.sponsorship(ann.tenant, id).await.unwrap().unwrap();
    assert_eq!(view.state, ViewState::SettledFinal);
    company.finish().await;
}

#[tokio::test]
async fn a_connection_killed_while_it_waits_for_the_account_is_replaced() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut holder = company.superuser().await;
    hold(&mut holder, &ann).await;
    let operation = ann.operation(1, 60);
    let granting = tokio::spawn(async move { operation.sponsor().await });
    company.blocked(1).await;
    let kill = format!("SELECT pg_terminate_backend(pid) {BACKENDS} AND wait_event_type = 'Lock'");
    sqlx::raw_sql(AssertSqlSafe(kill)).execute(&mut holder).await.unwrap();
    let_go(&mut holder).await;
    assert!(matches!(granting.await.unwrap(), GrantAnswer::Granted(_)));
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn nothing_is_signed_when_the_account_cannot_be_locked() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut holder = company.superuser().await;
    hold(&mut holder, &ann).await;
    let operation = ann.operation(1, 60);
    let granting = tokio::spawn(async move { operation.ask().await });
    // Apart from the holder, whose open transaction would see the same activity for ever.
    let mut superuser = company.superuser().await;
    while !granting.is_finished() {
        let kill =
            format!("SELECT pg_terminate_backend(pid) {BACKENDS} AND wait_event_type = 'Lock'");
        sqlx::raw_sql(AssertSqlSafe(kill)).execute(&mut superuser).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let_go(&mut holder).await;
    let answer = granting.await.unwrap();
    assert!(matches!(&answer, Err(error @ StoreError::Unavailable(_)) if error.is_transient()));
    assert_eq!(company.count("SELECT count(*) FROM grants").await, 0);
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}

/// Commands of one user, each repeated until its answer is known, as a caller does that heard nothing.
async fn commands_until_known(ann: User) {
    for number in 0..40_u64 {
        let command = ann.movement(Direction::Credit, 10, &format!("credit {number}"));
        let outcome = until_known(|| ann.store.move_funds(&command)).await;
        assert!(matches!(outcome, FundsOutcome::Applied(_) | FundsOutcome::Replayed(_)));
        let biz_id = format!("trip {number}");
        for request in [try_for(6), TccRequest::Confirm { amount: Some(micro(5)) }] {
            let call = ann.tcc_call(&biz_id, request);
            let answer = until_known(|| ann.store.tcc(&call)).await;
            let TccAnswer::Decided(outcome, _) = answer else { panic!("{answer:?}") };
            assert!(matches!(outcome, TccOutcome::Applied | TccOutcome::Replayed));
        }
        let operation = ann.operation(number, 3).keyed(&format!("sponsor {number}"));
        let answer = until_known(|| operation.ask()).await;
        assert!(matches!(answer, GrantAnswer::Granted(_) | GrantAnswer::Replayed(_)));
    }
}

/// Kills the store's connections again and again, and counts those that a command was using.
async fn killer(url: String) -> i64 {
    let mut superuser = PgConnection::connect(&url).await.unwrap();
    let mut killed = 0;
    loop {
        let kill = format!(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid) AND state <> 'idle') {BACKENDS}"
        );
        let hits: i64 =
            sqlx::query_scalar(AssertSqlSafe(kill)).fetch_one(&mut superuser).await.unwrap();
        killed += hits;
        if killed >= 20 {
            return killed;
        }
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_killed_again_and_again_double_nothing() {
    let company = Company::new().await;
    let mut users = Vec::new();
    for name in ["ann", "bob", "cem"] {
        users.push(company.user(name, 100).await);
    }
    let replica = company.replica(6);
    let killing = tokio::spawn(killer(company.db.superuser_url.clone()));
    let mut tasks = tokio::task::JoinSet::new();
    for user in &users {
        tasks.spawn(commands_until_known(user.through(&replica)));
    }
    tasks.join_all().await;
    assert!(killing.await.unwrap() >= 20);
    replica.close().await;
    let fresh = company.replica(1);
    for user in &users {
        assert_eq!(user.through(&fresh).balances().await, [100 + 400 - 200 - 120, 120, 200, 0]);
    }
    assert_eq!(company.count("SELECT count(*) FROM grants").await, 120);
    assert_eq!(company.count("SELECT count(*) FROM movements").await, 123);
    fresh.close().await;
    company.finish().await;
}
