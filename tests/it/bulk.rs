//! Many credits at once, as a company brings in the points that its users have.

use std::{fmt::Write as _, fs, time::Duration};

use devstack::deployment::TENANT;
use e2e::{Env, on_own_stack, on_shared_stack, wait};
use futures::join;
use serde_json::{Value, json};

const LINES: usize = 10_000;
const LINES_OF_ONE: usize = 20;
const PATH: &str = "v1/credits:batch";

/// Credits of 2.5 points, so many to each account.
fn batch(name: &str) -> Value {
    let lines: Vec<_> = (0..LINES)
        .map(|number| {
            json!({
                "externalId": format!("{name}-{}", number / LINES_OF_ONE),
                "amount": "2.5",
                "reason": "opening balance",
                "reference": format!("opening-{number}"),
            })
        })
        .collect();
    json!({ "createAccounts": true, "lines": lines })
}

/// Sends a batch until it is complete: its counts of applied, replayed and refused lines.
async fn completes(env: &Env, key: &str, body: &Value) -> [u64; 3] {
    loop {
        let answer = env.api.post_keyed(PATH, key, body).await;
        if answer.status == 202 || answer.status == 503 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        let answer = answer.success();
        assert_eq!(answer["complete"], true);
        assert_eq!(answer["lines"].as_array().unwrap().len(), LINES);
        return ["applied", "replayed", "refused"].map(|count| answer[count].as_u64().unwrap());
    }
}

/// Every account has its lines, each once.
async fn is_credited_once(env: &Env, name: &str) {
    for number in 0..LINES / LINES_OF_ONE {
        let account = env.ledger.account(&format!("{name}-{number}")).await.unwrap();
        assert_eq!(account.balances.available, 50_000_000, "{name}-{number}");
        assert_eq!(account.entry_seq, 20, "{name}-{number}");
    }
}

#[test]
fn ten_thousand_credits_that_come_three_times_by_two_ways_count_once() {
    on_shared_stack(async |env| {
        let body = batch("bulk");
        let first = completes(env, "bulk-1", &body).await;
        let [applied, replayed, refused] = first;
        // A commit that outlasts its request is found by the next, as a replay.
        assert_eq!((applied + replayed, refused), (10_000, 0));
        assert!(applied > replayed, "{first:?}");
        is_credited_once(env, "bulk").await;
        assert_eq!(completes(env, "bulk-2", &body).await, [0, 10_000, 0]);
        assert_eq!(completes(env, "bulk-1", &body).await, first, "the first answer again");

        let mut text = "external_id,amount,reason,reference\n".to_owned();
        for line in body["lines"].as_array().unwrap() {
            let field = |name: &str| line[name].as_str().unwrap().to_owned();
            let fields = ["externalId", "amount", "reason", "reference"].map(field);
            writeln!(text, "{}", fields.join(",")).unwrap();
        }
        let file = env.stack.run.log("bulk-points").with_extension("csv");
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let import = ["admin", "points", "import", "--tenant", TENANT, file];
        let said = env.stipend(&import).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(said.contains("replayed, credited before: 10000 lines, 25000 points"), "{said}");
        is_credited_once(env, "bulk").await;
    });
}

#[test]
fn a_batch_goes_on_where_the_service_was_killed() {
    on_own_stack(async |env| {
        let body = batch("killed");
        let (answer, ()) = join!(env.api.try_post_keyed(PATH, "killed", &body), async {
            wait::until("the batch is under way", 30, async || {
                env.ledger.account("killed-40").await.map(drop).ok_or("not yet".to_owned())
            })
            .await;
            env.crash_service().await;
        });
        assert!(answer.is_err(), "the kill came while the batch was under way");
        assert!(env.ledger.account("killed-499").await.is_none());
        env.restart_service().await;
        let [applied, replayed, refused] = completes(env, "killed", &body).await;
        assert_eq!((applied + replayed, refused), (10_000, 0));
        assert!(replayed <= 500, "{replayed}: more than were under way are not known any more");
        is_credited_once(env, "killed").await;
        assert_eq!(completes(env, "killed", &body).await, [applied, replayed, refused]);
    });
}
