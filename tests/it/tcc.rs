//! The company's other services reserve and spend points of the running service.

use e2e::{Env, Wallet, on_own_stack, on_shared_stack, wait};
use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

const ISSUED: &str = "2999-01-01T00:00:00Z";
const SECONDS: u64 = 20;

async fn account(env: &Env, name: &str, points: &str) {
    env.api.put(&format!("v1/accounts/{name}")).await.success();
    credit(env, name, points, "opening").await;
}

async fn credit(env: &Env, name: &str, points: &str, reference: &str) {
    let body = json!({ "amount": points, "reason": "test", "reference": reference });
    env.api.post_keyed(&format!("v1/accounts/{name}/credits"), reference, &body).await.success();
}

/// Available, reserved and spent.
async fn balances(env: &Env, name: &str) -> [String; 3] {
    let body = env.api.get(&format!("v1/accounts/{name}")).await.success();
    ["available", "reserved", "spent"].map(|column| body[column].as_str().unwrap().to_owned())
}

fn try_until(name: &str, biz_id: &str, expires_at: &str) -> Value {
    json!({ "bizId": biz_id, "externalId": name, "amount": "60", "issuedAt": ISSUED, "expiresAt": expires_at })
}

#[test]
fn what_is_not_confirmed_in_time_returns_by_the_databases_clock() {
    on_shared_stack(async |env| {
        account(env, "late", "100").await;
        let far = try_until("late", "trip", "2999-01-01T00:00:00Z");
        env.api.post("v1/tcc/try", &far).await.success();
        assert_eq!(balances(env, "late").await, ["40", "60", "0"]);
        let sooner = "UPDATE reservations SET expires_at = clock_timestamp() + interval '2 seconds' WHERE account_id = $1";
        env.as_owner(sooner, "late").await;
        wait::until("the points are back", SECONDS, async || {
            let now = balances(env, "late").await;
            if now == ["100", "0", "0"] { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
        // Changes the row only if it was released when its time was past.
        let in_time = "UPDATE reservations SET kind = kind WHERE account_id = $1 AND state = 'released' AND changed_at >= expires_at";
        env.as_owner(in_time, "late").await;
        let confirm = json!({ "bizId": "trip", "externalId": "late" });
        let refused = env.api.post("v1/tcc/confirm", &confirm).await;
        assert_eq!((refused.status, refused.code()), (409, "cancelled".to_owned()));
    });
}

#[test]
fn a_confirm_in_time_keeps_what_it_spent_when_the_time_is_past() {
    on_shared_stack(async |env| {
        account(env, "in-time", "100").await;
        let body = try_until("in-time", "trip", "2999-01-01T00:00:00Z");
        env.api.post("v1/tcc/try", &body).await.success();
        let confirm = json!({ "bizId": "trip", "externalId": "in-time", "amount": "45" });
        env.api.post("v1/tcc/confirm", &confirm).await.success();
        let past = "UPDATE reservations SET expires_at = clock_timestamp() WHERE account_id = $1";
        env.as_owner(past, "in-time").await;
        let swept = "SELECT count(*) FROM reservations r JOIN account_names n USING (tenant_id, account_id) WHERE n.external_id = 'in-time' AND r.expiry_swept";
        wait::until("the sweeper has seen it", SECONDS, async || {
            let mut session =
                PgConnection::connect(env.endpoints.database_url.as_str()).await.unwrap();
            let seen: i64 = sqlx::query_scalar(swept).fetch_one(&mut session).await.unwrap();
            if seen == 1 { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        assert_eq!(balances(env, "in-time").await, ["55", "0", "45"]);
        let again = env.api.post("v1/tcc/confirm", &confirm).await.success();
        assert_eq!(again["returned"], "15");
    });
}

#[test]
fn commands_on_one_biz_id_at_once_agree_on_one_outcome() {
    on_shared_stack(async |env| {
        account(env, "torn", "100").await;
        let confirm = json!({ "bizId": "trip", "externalId": "torn" });
        for round in 0..5 {
            let mut named = confirm.clone();
            named["bizId"] = json!(format!("trip-{round}"));
            let mut tried = try_until("torn", &format!("trip-{round}"), "2999-01-01T00:00:00Z");
            tried["amount"] = json!("10");
            let commands = (0..12).map(|number| match number % 3 {
                0 => env.api.post("v1/tcc/try", &tried),
                1 => env.api.post("v1/tcc/confirm", &named),
                _ => env.api.post("v1/tcc/cancel", &named),
            });
            let before = balances(env, "torn").await;
            for answer in join_all(commands).await {
                assert!(
                    [200, 404, 409].contains(&answer.status),
                    "{} {}",
                    answer.status,
                    answer.text
                );
            }
            let look_up = format!("v1/tcc/torn/trip-{round}");
            let found = env.api.get(&look_up).await.success();
            let after = balances(env, "torn").await;
            match found["state"].as_str() {
                Some("settled") => assert_eq!(found["settled"], "10"),
                Some("released") => assert_eq!(after, before),
                other => panic!("{other:?}"),
            }
            assert_eq!(after[1], "0", "nothing stays reserved");
        }
    });
}

#[test]
fn a_dtm_coordinator_may_repeat_every_call() {
    on_shared_stack(async |env| {
        account(env, "branch", "100").await;
        let body = json!({ "externalId": "branch", "amount": "60", "issuedAt": ISSUED });
        let call = async |op: &str, gid: &str| {
            let path = format!("v1/dtm/{op}?gid={gid}&trans_type=tcc&branch_id=01&op={op}");
            let answer = env.api.post(&path, &body).await;
            for word in ["ONGOING", "FAILURE"] {
                assert!(!answer.text.contains(word), "{}", answer.text);
            }
            answer.status
        };
        for (op, gid, status) in [
            ("try", "g1", 200),
            ("try", "g1", 200),
            ("confirm", "g1", 200),
            ("confirm", "g1", 200),
            ("cancel", "g1", 500),
            ("cancel", "unknown", 200),
            ("cancel", "unknown", 200),
            ("try", "unknown", 409),
            ("try", "dear", 409),
            ("cancel", "dear", 200),
            ("confirm", "dear", 500),
        ] {
            assert_eq!(call(op, gid).await, status, "{op} {gid}");
        }
        assert_eq!(balances(env, "branch").await, ["40", "0", "60"]);
    });
}

#[test]
fn who_owes_too_much_is_refused_by_name_and_a_credit_mends_it() {
    on_own_stack(async |env| {
        let user = env.user("owes", Wallet::SIMPLE_07).await;
        let terms = user.sponsorship_body(&user.estimates().await);
        let before = user.reservations().await;
        // As an operation leaves it that cost more than was held, without the operation.
        let owes = "UPDATE accounts SET debt_micropoints = 1500000 WHERE account_id = $1";
        env.as_owner(owes, &user.external_id).await;
        let refused = user.is_refused(&user.increment()).await;
        assert_eq!(refused.reason, "debt_above_ceiling", "{refused:?}");
        assert_eq!(refused.code, Some(-32501));
        assert!(refused.details.contains("1.5"), "{refused:?}");
        assert_eq!(user.reservations().await, before, "nothing is remembered of a refusal");
        let quote = env.api.post("v1/quotes", &terms).await.success();
        assert_eq!(quote["refusal"]["code"], "debt_above_ceiling", "{quote}");
        assert_eq!(quote["refusal"]["retryable"], true);

        credit(env, &user.external_id, "1.5", "repays").await;
        assert_eq!(user.balances().await.debt, 0, "a credit repays first");
        user.settles(&user.sends(&user.increment()).await).await;
    });
}
