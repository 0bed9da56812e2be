//! Lock, then load: why they are two statements, and what follows from it under load.

use core::time::Duration;

use domain::ledger::sponsorship::{FactOutcome, SetAside};
use domain::ledger::tcc::{TccOutcome, TccRefusal};
use sqlx::PgConnection;
use store::Store;
use store::cursor::NewOperation;
use store::tcc::TccRequest;
use tokio::task::JoinSet;

use crate::Company;
use crate::builder::{HEAD, User, VALIDITY, micro, try_for};
use crate::chain::{Chain, apply_once, landing, release_once};
use crate::tcc_races::{hold, let_go};

/// Reserves 60 by hand, in a transaction that is still open.
async fn reserve_by_hand(neighbour: &mut PgConnection, ann: &User) {
    hold(neighbour, ann).await;
    for statement in [
        "INSERT INTO reservations (tenant_id, account_id, reservation_id, kind, state,
            reserved_micropoints, opened_at, changed_at, biz_id, requested_micropoints)
        VALUES ($1, $2, gen_random_uuid(), 'tcc', 'open', 60, now(), now(), 'trip', 60)",
        "UPDATE accounts SET available_micropoints = available_micropoints - 60,
            reserved_micropoints = reserved_micropoints + 60
        WHERE tenant_id = $1 AND account_id = $2",
    ] {
        sqlx::query(statement)
            .bind(ann.tenant.0)
            .bind(ann.account.0)
            .execute(&mut *neighbour)
            .await
            .unwrap();
    }
}

/// Takes back what [`reserve_by_hand`] wrote without entries, so that the books are whole again.
async fn take_back(neighbour: &mut PgConnection) {
    let statement = "DELETE FROM reservations;
        UPDATE accounts SET available_micropoints = available_micropoints + 60,
            reserved_micropoints = reserved_micropoints - 60";
    sqlx::raw_sql(statement).execute(neighbour).await.unwrap();
}

#[tokio::test]
async fn one_statement_that_locks_and_loads_misses_the_neighbours_reservation() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let (mut neighbour, mut runtime) = (company.superuser().await, company.superuser().await);
    reserve_by_hand(&mut neighbour, &ann).await;
    sqlx::raw_sql("SET application_name = 'stipend'; BEGIN").execute(&mut runtime).await.unwrap();
    let joined = tokio::spawn(async move {
        let seen: (i64, Option<String>) = sqlx::query_as(
            "SELECT a.available_micropoints, r.state FROM accounts a
            LEFT JOIN reservations r ON (r.tenant_id, r.account_id) = (a.tenant_id, a.account_id)
                AND r.biz_id = 'trip'
            FOR NO KEY UPDATE OF a",
        )
        .fetch_one(&mut runtime)
        .await
        .unwrap();
        // The next statement of the same transaction, under the same lock, sees it.
        let second: Option<String> =
            sqlx::query_scalar("SELECT state FROM reservations WHERE biz_id = 'trip'")
                .fetch_optional(&mut runtime)
                .await
                .unwrap();
        let_go(&mut runtime).await;
        (seen, second)
    });
    company.blocked(1).await;
    let_go(&mut neighbour).await;
    let (seen, second) = joined.await.unwrap();
    assert_eq!(seen, (40, None), "the balance of now, the reservations of before");
    assert_eq!(second.as_deref(), Some("open"));
    take_back(&mut neighbour).await;
    company.finish().await;
}

#[tokio::test]
async fn a_command_that_waited_for_the_account_sees_what_its_neighbour_committed() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut neighbour = company.superuser().await;
    reserve_by_hand(&mut neighbour, &ann).await;
    let rival = company.replica(1);
    let tries = [(ann.clone(), "trip", 60), (ann.through(&rival), "another trip", 50)];
    let [repeat, other] = tries.map(|(ann, biz_id, amount)| {
        tokio::spawn(async move { ann.tcc(biz_id, try_for(amount)).await })
    });
    company.blocked(2).await;
    let_go(&mut neighbour).await;
    assert_eq!(repeat.await.unwrap(), TccOutcome::Replayed);
    let refusal = TccRefusal::InsufficientPoints { available: micro(40), requested: micro(50) };
    assert_eq!(other.await.unwrap(), TccOutcome::Refused(refusal));
    rival.close().await;
    take_back(&mut neighbour).await;
    company.finish().await;
}

#[tokio::test]
async fn a_command_waits_for_its_own_account_only() {
    let company = Company::new().await;
    let (ann, bob) = (company.user("ann", 100).await, company.user("bob", 100).await);
    let mut holder = company.superuser().await;
    hold(&mut holder, &ann).await;
    assert_eq!(bob.tries("trip", 60).await, TccOutcome::Applied);
    bob.operation(1, 10).granted().await;
    // Reading does not wait either.
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    let_go(&mut holder).await;
    company.finish().await;
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// How many slots of each user the load uses; operations land in the first so many of them.
const SLOTS: u64 = 12;
const LANDING: u64 = 8;

/// Commands of all kinds, on few keys so that they meet. Refusals are as good as successes here.
async fn commands(user: User, mut dice: Dice, count: usize) {
    for _ in 0..count {
        let amount = 1 + dice.below(60);
        let key = dice.below(SLOTS);
        match dice.below(9) {
            0 => {
                user.credit(amount, &format!("credit {key} {amount}")).await;
            }
            1 => {
                user.debit(amount, &format!("debit {key} {amount}")).await;
            }
            2 | 3 => {
                user.tries(&format!("trip {key}"), 1 + key).await;
            }
            4 => {
                user.confirms(&format!("trip {key}"), 1 + key / 2).await;
            }
            5 => {
                user.cancels(&format!("trip {key}")).await;
            }
            6 | 7 => {
                user.operation(key, amount).sponsor().await;
            }
            _ => {
                let slot = user.slot(key);
                let open = user.store.open_sponsorship(user.tenant, user.account, &slot);
                if let Some(found) = open.await.unwrap() {
                    let id = found.grants[0].reservation;
                    user.store.close_sponsorship(user.tenant, id).await.unwrap();
                }
            }
        }
    }
}

/// A chain that loses its head, mines landings, known and unknown, and now and then loses a block.
async fn restless_chain(mut chain: Chain, users: Vec<User>, mut dice: Dice) -> Chain {
    chain.reorganise().await;
    while chain.landed() < LANDING {
        // Slow enough for grants to come before their landing, and for appliers before a block goes.
        tokio::time::sleep(Duration::from_millis(25)).await;
        let mut operations = Vec::new();
        for (user, log_index) in users.iter().zip(0..) {
            let cost = dice.below(80);
            // A nonce of a block that went away lands again; at most one block knows it.
            operations.push(NewOperation { log_index, ..landing(user, chain.landed(), cost) });
        }
        chain.mine(&operations).await;
        tokio::time::sleep(Duration::from_millis(25)).await;
        match dice.below(3) {
            0 => {
                chain.reorganise().await;
            }
            1 => chain.finalise().await,
            _ => {}
        }
    }
    chain
}

async fn applier(store: Store, rounds: usize) {
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(5)).await;
        for (_, outcome) in apply_once(&store).await {
            let unknown = FactOutcome::SetAside(SetAside::UnknownOperation);
            let is_set_aside = matches!(outcome, FactOutcome::SetAside(_));
            assert!(!is_set_aside || outcome == unknown, "{outcome:?}");
        }
        release_once(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_under_mixed_load_keep_the_books() {
    let company = Company::new().await;
    let replicas = [company.replica(12), company.replica(12)];
    let mut users = Vec::new();
    for name in ["ann", "bob", "cem"] {
        users.push(company.user(name, 500).await);
    }
    let mut chain = Chain::start(&company.store).await;
    let mut landings = Vec::new();
    for (user, log_index) in users.iter().zip(0..) {
        user.operation(0, 30).granted().await;
        landings.push(NewOperation { log_index, ..landing(user, 0, 20) });
    }
    chain.mine(&landings).await;
    chain.apply().await;
    let mut tasks = JoinSet::new();
    for (seed, replica) in (1..).zip(&replicas) {
        for (index, user) in (1..).zip(&users) {
            tasks.spawn(commands(user.through(replica), Dice(seed * 100 + index), 60));
            tasks.spawn(commands(user.through(replica), Dice(seed * 200 + index), 60));
        }
        tasks.spawn(applier(replica.clone(), 150));
    }
    let mut chain = restless_chain(chain, users.clone(), Dice(7)).await;
    tasks.join_all().await;
    chain.apply().await;
    crate::invariants::hold(&company.db).await;

    // When the dust has settled everything is final or released.
    chain.mine_past(HEAD + 100 * VALIDITY).await;
    chain.finalise().await;
    chain.apply().await;
    chain.release().await;
    for user in &users {
        for key in 0..SLOTS {
            user.tcc(&format!("trip {key}"), TccRequest::Cancel).await;
        }
        assert_eq!(user.pending().await, 0);
    }
    let open =
        "SELECT count(*) FROM reservations r WHERE r.state IN ('open', 'settled_provisional')
        AND NOT EXISTS (SELECT FROM chain_events e WHERE e.sender = r.sender AND e.nonce = r.nonce
            AND e.canonical AND e.progress = 'set_aside')";
    assert_eq!(company.count(open).await, 0);
    // Only a run in which all kinds of things happened says anything; whether a try finds too few
    // points is luck.
    let mut superuser = company.superuser().await;
    let mut kinds: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT kind FROM outbox ORDER BY kind")
            .fetch_all(&mut superuser)
            .await
            .unwrap();
    kinds.retain(|kind| kind != "tcc.rejected");
    assert_eq!(
        kinds,
        [
            "account.credited",
            "account.debited",
            "sponsorship.closing",
            "sponsorship.final",
            "sponsorship.granted",
            "sponsorship.released",
            "sponsorship.settled",
            "sponsorship.undone",
            "tcc.released",
            "tcc.reserved",
            "tcc.settled",
            "wallet.linked",
        ]
    );
    for replica in replicas {
        replica.close().await;
    }
    company.finish().await;
}
