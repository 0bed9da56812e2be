//! The batching writer: commands that share a commit are what each alone would have been.

use std::collections::BTreeMap;

use domain::ledger::funds::FundsRefusal;
use domain::ledger::tcc::TccOutcome;
use futures::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sqlx::{AssertSqlSafe, PgConnection};
use store::StoreError;
use store::funds::{Direction, FundsOutcome};
use store::sponsorships::GrantAnswer;
use store::tcc::TccRequest;
use tokio::task::JoinHandle;

use crate::Company;
use crate::buckets::FAR;
use crate::builder::{User, micro, try_for};

/// Keeps the writers from writing, so that commands gather behind the batches in flight.
struct Dam(PgConnection);

impl Dam {
    async fn close(company: &Company) -> Self {
        let mut superuser = company.superuser().await;
        let statement = "BEGIN; LOCK TABLE outbox IN SHARE MODE";
        sqlx::raw_sql(statement).execute(&mut superuser).await.unwrap();
        Self(superuser)
    }

    async fn open(mut self) {
        sqlx::raw_sql("COMMIT").execute(&mut self.0).await.unwrap();
    }
}

/// Occupies the lane of an account: its batch is in flight until the dam opens.
async fn occupy(company: &Company, user: &User) -> JoinHandle<FundsOutcome> {
    let (user, command) = (user.clone(), user.movement(Direction::Credit, 1, "occupies"));
    let waiting = company.blocked(1);
    let occupying = tokio::spawn(async move { user.store.move_funds(&command).await.unwrap() });
    waiting.await;
    occupying
}

/// How many transactions wrote an account's events.
const COMMITS: &str = "SELECT count(DISTINCT xmin::text) FROM outbox";

#[tokio::test]
async fn commands_that_arrive_during_a_commit_share_the_next_one() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let before = company.count(COMMITS).await;
    let dam = Dam::close(&company).await;
    let occupying = occupy(&company, &ann).await;
    let mut tasks = Vec::new();
    for index in 0..40 {
        let (ann, command) =
            (ann.clone(), ann.movement(Direction::Credit, 1, &format!("gift {index}")));
        tasks.push(tokio::spawn(async move { ann.store.move_funds(&command).await.unwrap() }));
    }
    tokio::task::yield_now().await;
    dam.open().await;
    occupying.await.unwrap();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), FundsOutcome::Applied(_)));
    }
    assert_eq!(ann.balances().await, [141, 0, 0, 0]);
    assert_eq!(company.count(COMMITS).await - before, 2);
    company.finish().await;
}

#[tokio::test]
async fn what_is_refused_repeated_or_in_conflict_does_not_fail_its_neighbours() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let dam = Dam::close(&company).await;
    let occupying = occupy(&company, &ann).await;
    let debit = |amount, name: &str| ann.movement(Direction::Debit, amount, name);
    let mut conflict = debit(41, "one");
    conflict.keyed.key = "another key".parse().unwrap();
    let mut reused = debit(1, "five");
    reused.keyed.key = debit(1, "one").keyed.key;
    let commands = [
        debit(40, "one"),
        debit(40, "one"),
        conflict,
        debit(400, "two"),
        reused,
        debit(61, "three"),
    ];
    let store = ann.store.clone();
    let running = tokio::spawn(async move {
        join_all(commands.iter().map(|command| store.move_funds(command))).await
    });
    tokio::task::yield_now().await;
    dam.open().await;
    occupying.await.unwrap();
    let outcomes: Vec<_> = running.await.unwrap().into_iter().map(Result::unwrap).collect();
    let too_few = FundsRefusal::InsufficientPoints { available: micro(61), requested: micro(400) };
    assert!(
        matches!(
            &outcomes[..],
            [
                FundsOutcome::Applied(first),
                FundsOutcome::Replayed(again),
                FundsOutcome::Conflict(fields),
                FundsOutcome::Refused(refusal),
                FundsOutcome::KeyReused,
                FundsOutcome::Applied(_),
            ] if first == again && fields == &["amount"] && *refusal == too_few
        ),
        "{outcomes:#?}"
    );
    assert_eq!(ann.balances().await, [0, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_command_that_the_database_cannot_take_fails_alone() {
    let company = Company::new().await;
    let (ann, bob) = (company.user("ann", 100).await, company.user("bob", 100).await);
    // A constraint that only bob's next credit breaks.
    let mut superuser = company.superuser().await;
    let stray = format!(
        "ALTER TABLE movements ADD CONSTRAINT stray CHECK (account_id <> '{}') NOT VALID",
        bob.account
    );
    sqlx::raw_sql(AssertSqlSafe(stray)).execute(&mut superuser).await.unwrap();
    let command =
        |user: &User, index| user.movement(Direction::Credit, 1, &format!("gift {index}"));
    let commands: Vec<_> =
        (0..20).map(|index| command(if index == 7 { &bob } else { &ann }, index)).collect();
    let outcomes = join_all(commands.iter().map(|command| company.store.move_funds(command))).await;
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Err(StoreError::Statement(_)) => assert_eq!(index, 7),
            outcome => assert!(matches!(outcome.unwrap(), FundsOutcome::Applied(_)), "{index}"),
        }
    }
    assert_eq!(ann.balances().await, [119, 0, 0, 0]);
    assert_eq!(bob.balances().await, [100, 0, 0, 0]);
    let remove = "ALTER TABLE movements DROP CONSTRAINT stray";
    sqlx::raw_sql(remove).execute(&mut superuser).await.unwrap();
    company.finish().await;
}

/// Whether the last command was written by the statement of a lone one, and not by a batch, which ends with a COMMIT.
const ALONE: &str = "SELECT count(*) FROM (SELECT query FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'stipend'
            AND (query LIKE 'WITH locked%' OR query = 'COMMIT')
        ORDER BY query_start DESC LIMIT 1) AS last
    WHERE query LIKE 'WITH locked%'";

#[tokio::test]
async fn a_command_that_is_alone_is_one_statement_unless_it_writes_several_lines_or_none() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    assert_eq!(ann.tries("whole", 30).await, TccOutcome::Applied);
    assert_eq!(company.count(ALONE).await, 1);
    assert_eq!(ann.confirms("whole", 30).await, TccOutcome::Applied);
    assert_eq!(company.count(ALONE).await, 1);
    assert_eq!(ann.tries("part", 30).await, TccOutcome::Applied);
    assert_eq!(ann.confirms("part", 10).await, TccOutcome::Applied);
    assert_eq!(company.count(ALONE).await, 0, "the rest is a line of its own");
    ann.credit(5, "gift").await;
    assert_eq!(company.count(ALONE).await, 1);
    ann.tries("dear", 1_000).await;
    assert_eq!(company.count(ALONE).await, 0, "a refusal is remembered without a line");
    ann.operation(1, 10).granted().await;
    assert_eq!(company.count(ALONE).await, 1);
    company.finish().await;
}

/// What a repeat of the one grant under a key writes: nothing in the account's sequences.
const USE_KEY: &str =
    "BEGIN; INSERT INTO command_keys (tenant_id, account_id, command_key, command,
        request_hash, reservation_id, grant_no, recorded_at)
    SELECT tenant_id, account_id, 'key', 'sponsor', sha256('one'), reservation_id, grant_no, now()
    FROM grants";

#[tokio::test]
async fn a_key_that_is_used_while_a_lone_command_is_decided_is_not_used_twice() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    ann.operation(1, 60).granted().await;
    let mut neighbour = company.superuser().await;
    sqlx::raw_sql(USE_KEY).execute(&mut neighbour).await.unwrap();
    let waiting = company.blocked(1);
    let operation = ann.operation(2, 10).keyed("key");
    let sponsoring = tokio::spawn(async move { operation.sponsor().await });
    waiting.await;
    sqlx::raw_sql("COMMIT").execute(&mut neighbour).await.unwrap();
    assert_eq!(sponsoring.await.unwrap(), GrantAnswer::KeyReused);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_full_queue_says_so_at_once_and_loses_nothing_that_it_took() {
    const COMMANDS: usize = 6_000;
    let company = Company::new().await;
    let ann = company.user("ann", 0).await;
    let dam = Dam::close(&company).await;
    let mut commands = tokio::task::JoinSet::new();
    for index in 0..COMMANDS {
        let command = ann.movement(Direction::Credit, 1, &format!("gift {index}"));
        let store = ann.store.clone();
        commands.spawn(async move { store.move_funds(&command).await });
    }
    // The refused ones are answered while the dam stands.
    let first = commands.join_next().await.unwrap().unwrap();
    assert!(matches!(first, Err(StoreError::Busy)), "{first:?}");
    dam.open().await;
    let mut applied = 0;
    while let Some(outcome) = commands.join_next().await {
        match outcome.unwrap() {
            Ok(FundsOutcome::Applied(_)) => applied += 1,
            Err(StoreError::Busy) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(applied >= 4_000, "{applied}");
    assert_eq!(ann.balances().await[0], applied);
    company.finish().await;
}

#[tokio::test]
async fn closing_answers_what_was_taken_and_takes_no_more() {
    let company = Company::new().await;
    let ann = company.user("ann", 0).await;
    let replica = company.replica(1);
    let ann = ann.through(&replica);
    let dam = Dam::close(&company).await;
    let occupying = occupy(&company, &ann).await;
    let commands: Vec<_> =
        (0..50).map(|index| ann.movement(Direction::Credit, 1, &format!("gift {index}"))).collect();
    let store = replica.clone();
    let taken = tokio::spawn(async move {
        join_all(commands.iter().map(|command| store.move_funds(command))).await
    });
    tokio::task::yield_now().await;
    let closing = tokio::spawn(async move { replica.close().await });
    tokio::task::yield_now().await;
    dam.open().await;
    occupying.await.unwrap();
    for outcome in taken.await.unwrap() {
        assert!(matches!(outcome.unwrap(), FundsOutcome::Applied(_)));
    }
    closing.await.unwrap();
    let late = ann.store.move_funds(&ann.movement(Direction::Credit, 1, "late")).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    company.finish().await;
}

#[tokio::test]
async fn a_command_whose_caller_has_gone_is_not_begun() {
    let company = Company::new().await;
    let ann = company.user("ann", 0).await;
    let dam = Dam::close(&company).await;
    let occupying = occupy(&company, &ann).await;
    let (user, command) = (ann.clone(), ann.movement(Direction::Credit, 50, "abandoned"));
    let abandoned = tokio::spawn(async move { user.store.move_funds(&command).await });
    tokio::task::yield_now().await;
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    dam.open().await;
    occupying.await.unwrap();
    assert_eq!(ann.balances().await, [1, 0, 0, 0]);
    company.finish().await;
}

/// A command in a sequence.
#[derive(Clone, Copy, Debug)]
enum Step {
    Credit { name: u8, amount: u64 },
    CreditTo { bucket: u8, expires: bool, amount: u64 },
    Debit { name: u8, amount: u64 },
    Try { biz_id: u8, amount: u64 },
    Confirm { biz_id: u8, amount: u64 },
    Cancel { biz_id: u8 },
    Sponsor { nonce: u64, max_cost: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (name, amount) = (0_u8..4, 1_u64..90);
    prop_oneof![
        (name.clone(), amount.clone()).prop_map(|(name, amount)| Step::Credit { name, amount }),
        (0_u8..2, any::<bool>(), 1_u64..5).prop_map(|(bucket, expires, amount)| {
            Step::CreditTo { bucket, expires, amount: amount * 9 }
        }),
        (name.clone(), amount.clone()).prop_map(|(name, amount)| Step::Debit { name, amount }),
        (name.clone(), amount.clone()).prop_map(|(biz_id, amount)| Step::Try { biz_id, amount }),
        (name.clone(), amount.clone())
            .prop_map(|(biz_id, amount)| Step::Confirm { biz_id, amount }),
        name.prop_map(|biz_id| Step::Cancel { biz_id }),
        (1_u64..4, amount).prop_map(|(nonce, max_cost)| Step::Sponsor { nonce, max_cost }),
    ]
}

/// What became of a credit or debit.
fn told(outcome: FundsOutcome) -> String {
    match outcome {
        FundsOutcome::Applied(movement) => format!("applied {}", movement.entry_seq),
        FundsOutcome::Replayed(movement) => format!("replayed {}", movement.entry_seq),
        other @ (FundsOutcome::Refused(_)
        | FundsOutcome::Conflict(_)
        | FundsOutcome::KeyReused
        | FundsOutcome::NoAccount) => format!("{other:?}"),
    }
}

/// What a command answered, without what differs between two accounts.
async fn answer(user: User, step: Step) -> String {
    let funds = async |direction, name: u8, amount| {
        let command = user.movement(direction, amount, &format!("{direction:?} {name}"));
        told(user.store.move_funds(&command).await.unwrap())
    };
    let tcc = async |biz_id: u8, request| -> TccOutcome {
        user.tcc(&format!("trip {biz_id}"), request).await
    };
    match step {
        Step::Credit { name, amount } => funds(Direction::Credit, name, amount).await,
        Step::CreditTo { bucket, expires, amount } => {
            let bucket = ["gift", "gold"][usize::from(bucket)];
            let command = user.lot_credit(bucket, expires.then_some(FAR), amount);
            told(user.store.move_funds(&command).await.unwrap())
        }
        Step::Debit { name, amount } => funds(Direction::Debit, name, amount).await,
        Step::Try { biz_id, amount } => format!("{:?}", tcc(biz_id, try_for(amount)).await),
        Step::Confirm { biz_id, amount } => {
            let request = TccRequest::Confirm { amount: Some(micro(amount)) };
            format!("{:?}", tcc(biz_id, request).await)
        }
        Step::Cancel { biz_id } => format!("{:?}", tcc(biz_id, TccRequest::Cancel).await),
        Step::Sponsor { nonce, max_cost } => {
            match user.operation(nonce, max_cost).sponsor().await {
                GrantAnswer::Granted(grant) => format!("granted {}", grant.grant_no),
                GrantAnswer::Replayed(grant) => format!("replayed {}", grant.grant_no),
                other @ (GrantAnswer::Refused(_)
                | GrantAnswer::WalletMoved
                | GrantAnswer::PaymasterChanged
                | GrantAnswer::KeyReused) => format!("{other:?}"),
            }
        }
    }
}

/// Every row of an account, without ids, times and hashes.
async fn rows(company: &Company, user: &User) -> BTreeMap<&'static str, Vec<String>> {
    const DIFFERENT: &str = "ARRAY['account_id', 'reservation_id', 'recorded_at', 'opened_at',
        'changed_at', 'entry_hash', 'expires_at', 'sender', 'signature', 'seq_at']";
    let mut superuser = company.superuser().await;
    let mut rows = BTreeMap::new();
    for (table, order) in [
        ("accounts", "1"),
        ("entries", "seq"),
        ("outbox", "event_seq"),
        ("movements", "reference"),
        ("command_keys", "command_key"),
        ("reservations", "biz_id, nonce, attempt"),
        ("grants", "request_hash, grant_no"),
        ("buckets", "lot"),
        (
            "reservation_legs",
            "(SELECT (biz_id, nonce, attempt)::text FROM reservations r
            WHERE r.reservation_id = t.reservation_id), lot",
        ),
    ] {
        let statement = format!(
            "SELECT (to_jsonb(t) - {DIFFERENT})::text FROM {table} t WHERE account_id = $1 ORDER BY {order}"
        );
        let found: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .bind(user.account.0)
            .fetch_all(&mut superuser)
            .await
            .unwrap();
        rows.insert(table, found);
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_writes_the_rows_and_gives_the_answers_of_one_command_at_a_time() {
    let company = Company::new().await;
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let sequences = proptest::collection::vec(step(), 5..40);
    for round in 0..24 {
        let steps = sequences.new_tree(&mut runner).unwrap().current();
        let (one, all) = (
            company.user(&format!("one {round}"), 100).await,
            company.user(&format!("all {round}"), 100).await,
        );
        let dam = Dam::close(&company).await;
        let occupying = occupy(&company, &all).await;
        let together = tokio::spawn(join_all(
            steps.iter().map(|step| answer(all.clone(), *step)).collect::<Vec<_>>(),
        ));
        tokio::task::yield_now().await;
        dam.open().await;
        occupying.await.unwrap();
        let together = together.await.unwrap();
        let occupied = one.movement(Direction::Credit, 1, "occupies");
        one.store.move_funds(&occupied).await.unwrap();
        let mut alone = Vec::new();
        for step in &steps {
            alone.push(answer(one.clone(), *step).await);
        }
        assert_eq!(together, alone, "{steps:#?}");
        assert_eq!(rows(&company, &all).await, rows(&company, &one).await, "{steps:#?}");
    }
    company.finish().await;
}
