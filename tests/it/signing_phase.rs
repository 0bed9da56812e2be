//! The account signs first, and points are reserved only after it has (EntryPoint v0.9).

use alloy::primitives::U256;
use e2e::{
    Env, User, Wallet,
    api::{result_of, rpc_request},
    on_shared_stack,
    user::{Sent, max_cost_of, nonce_of},
};
use serde_json::{Value, json};

const PAYMASTER_FIELDS: [&str; 5] = [
    "paymaster",
    "paymasterData",
    "paymasterSignature",
    "paymasterVerificationGasLimit",
    "paymasterPostOpGasLimit",
];

/// The ERC-7677 call of a phase, and what it answered.
async fn phase(env: &Env, user: &User, key: &str, phase: &str, op: &Value) -> Result<Value, Value> {
    let mut params = user.paymaster_params(op);
    params[3] = json!({ "signingPhase": phase });
    let request = rpc_request("pm_getPaymasterData", params);
    result_of(env.api.rpc_with_key(key, &request).await.success())
}

/// The operation with the paymaster fields of an answer.
fn with_fields(op: &Value, answer: &Value) -> Value {
    let mut op = op.clone();
    for field in PAYMASTER_FIELDS {
        match answer.get(field) {
            Some(value) => op[field] = value.clone(),
            None => drop(op.as_object_mut().unwrap().remove(field)),
        }
    }
    op
}

/// The operation as committed, signed by its account.
async fn committed_and_signed(env: &Env, user: &User, key: &str, op: &Value) -> Value {
    let committed = phase(env, user, key, "commit", op).await.unwrap();
    signed(user, with_fields(op, &committed)).await
}

/// The operation with its account's signature, and the signature of its authorization if it has one.
async fn signed(user: &User, mut op: Value) -> Value {
    let signed = user.signs(&user.request, &op).await;
    op["signature"] = signed["signature"].clone();
    if let Some(authorization) = signed.get("eip7702Auth") {
        op["eip7702Auth"] = authorization.clone();
    }
    op
}

async fn reserved(user: &User, op: &Value) -> usize {
    user.reservations().await.iter().filter(|found| found.nonce == nonce_of(op)).count()
}

/// Sends the operation as it is, which no client library would do without dropping a field of it.
async fn submit(env: &Env, user: &User, op: &Value) -> Sent {
    let params = json!([op, user.entry_point()]);
    let hash = env.api.call("eth_sendUserOperation", params).await.unwrap();
    Sent { hash: hash.as_str().unwrap().parse().unwrap(), op: op.clone(), wire: Vec::new() }
}

#[test]
fn points_are_reserved_only_after_the_account_has_signed() {
    on_shared_stack(async |env| {
        let user = env.user("signs-first", Wallet::EIP7702_09).await;
        let key = env.endpoints.secret_key.as_str();
        // The account's first operation, which sets its delegate, and one that finds it set.
        for first in [true, false] {
            let op = user.estimates().await;
            assert_eq!(op.get("factory").is_some(), first, "{op}");
            let before = user.balances().await;
            let signed = committed_and_signed(env, &user, key, &op).await;
            assert_eq!(reserved(&user, &op).await, 0, "nothing before the account has signed");
            assert_eq!(user.balances().await, before);

            let finalized = phase(env, &user, key, "finalize", &signed).await.unwrap();
            assert_eq!(reserved(&user, &op).await, 1);
            let held = env.micropoints(max_cost_of(&signed));
            assert_eq!(user.balances().await.reserved, before.reserved + held);
            assert_ne!(finalized["paymasterSignature"], signed["paymasterSignature"]);
            assert_eq!(
                finalized["paymasterData"], signed["paymasterData"],
                "the window was signed"
            );

            let sent = submit(env, &user, &with_fields(&signed, &finalized)).await;
            assert!(user.lands(&user.request, &sent).await.success);
            user.settled_exactly(env, &sent).await;
        }
    });
}

#[test]
fn a_finalize_is_safe_to_repeat_over_rest() {
    on_shared_stack(async |env| {
        let user = env.user("finalizes-twice", Wallet::EIP7702_09).await;
        let op = user.estimates().await;
        let ask = async |phase: &str, op: &Value| {
            let mut body = user.sponsorship_body(op);
            body["context"] = json!({ "signingPhase": phase });
            env.api.post_keyed("v1/sponsorships", "finalizes-twice", &body).await
        };
        let committed = ask("commit", &op).await;
        assert_eq!(committed.status, 200, "{committed:?}");
        assert_eq!(committed.json().get("id"), None, "there is no sponsorship yet");
        let op = with_fields(&op, &committed.json());
        let needed = e2e::books::points(env.micropoints(max_cost_of(&op)));
        assert_eq!(committed.json()["points"], needed);
        let op = signed(&user, op).await;

        let (first, again) = (ask("finalize", &op).await, ask("finalize", &op).await);
        assert_eq!((first.status, again.status), (201, 200), "{first:?}");
        assert_eq!(first.text, again.text);
        assert_eq!(first.json()["userOpHash"], committed.json()["userOpHash"]);
        assert_eq!(reserved(&user, &op).await, 1);

        let mut other = op.clone();
        other["callData"] = json!("0x");
        let refused = ask("finalize", &other).await;
        assert_eq!((refused.status, refused.code().as_str()), (422, "idempotency_key_reused"));
        user.books_agree(env).await;
    });
}

#[test]
fn the_accounts_signature_proves_the_user_where_a_publishable_key_does_not() {
    on_shared_stack(async |env| {
        let user = env.user("bare-key", Wallet::EIP7702_09).await;
        let op = user.estimates().await;
        let key = env.bare_key_of_app("bare").await;
        let params = user.paymaster_params(&op);
        let sequential = rpc_request("pm_getPaymasterData", params);
        let refused = result_of(env.api.rpc_with_key(&key, &sequential).await.success());
        assert_eq!(refused.unwrap_err()["data"]["reason"], "user_proof_required");

        let signed = committed_and_signed(env, &user, &key, &op).await;
        let mut forged = signed.clone();
        forged["signature"] = json!(format!("0x{}1b", "11".repeat(64)));
        let refused = phase(env, &user, &key, "finalize", &forged).await.unwrap_err();
        assert_eq!(refused["data"]["reason"], "simulation_failed", "{refused}");
        assert_eq!(reserved(&user, &op).await, 0, "somebody else's signature reserves nothing");

        phase(env, &user, &key, "finalize", &signed).await.unwrap();
        assert_eq!(reserved(&user, &op).await, 1);
    });
}

#[test]
fn a_bare_key_learns_nothing_of_the_points_before_the_account_has_signed() {
    on_shared_stack(async |env| {
        let user = env.user("too-poor-to-commit", Wallet::EIP7702_09).await;
        let op = user.estimates().await;
        let available = e2e::books::points(user.balances().await.available);
        let debit = json!({"amount": available, "reason": "spent", "reference": "all"});
        let path = format!("v1/accounts/{}/debits", user.external_id);
        env.api.post_keyed(&path, "all", &debit).await.success();
        let server = env.endpoints.secret_key.as_str();
        let refused = phase(env, &user, server, "commit", &op).await.unwrap_err();
        assert_eq!(refused["data"]["reason"], "insufficient_points", "{refused}");

        let bare = env.bare_key_of_app("bare").await;
        let signed = committed_and_signed(env, &user, &bare, &op).await;
        let refused = phase(env, &user, &bare, "finalize", &signed).await.unwrap_err();
        assert_eq!(refused["data"]["reason"], "insufficient_points", "{refused}");
        assert_eq!(refused["message"], "insufficient points", "not even then how few");
    });
}

#[test]
fn an_authorisation_that_the_chain_would_not_carry_out_proves_nothing() {
    on_shared_stack(async |env| {
        let user = env.user("forged-delegation", Wallet::EIP7702_09).await;
        let key = env.bare_key_of_app("bare").await;
        let op = user.estimates().await;
        let signed = committed_and_signed(env, &user, &key, &op).await;
        let with = |field: &str, value: Value| {
            let mut op = signed.clone();
            op["eip7702Auth"][field] = value;
            op
        };
        let someone = format!("0x{}", "17".repeat(32));
        for forged in
            [with("r", json!(someone)), with("nonce", json!("0x1")), with("chainId", json!("0x1"))]
        {
            let refused = phase(env, &user, &key, "finalize", &forged).await.unwrap_err();
            assert_eq!(refused["data"]["reason"], "authorisation_invalid", "{refused}");
            assert_eq!(reserved(&user, &op).await, 0);
        }
        phase(env, &user, &key, "finalize", &signed).await.unwrap();
    });
}

#[test]
fn what_the_account_signed_is_held_to_the_rules_of_a_commit() {
    on_shared_stack(async |env| {
        let user = env.user("own-rules", Wallet::EIP7702_09).await;
        let key = env.endpoints.secret_key.as_str();
        let op = user.estimates().await;
        let signed = committed_and_signed(env, &user, key, &op).await;
        let refused = async |op: &Value| {
            let refused = phase(env, &user, key, "finalize", op).await.unwrap_err();
            assert_eq!(reserved(&user, op).await, 0);
            refused["data"]["reason"].as_str().unwrap().to_owned()
        };
        let window = |valid_after: u64, valid_until: u64| {
            let mut op = signed.clone();
            op["paymasterData"] = json!(format!("0x{valid_after:012x}{valid_until:012x}"));
            op
        };
        let data = signed["paymasterData"].as_str().unwrap();
        let valid_until = u64::from_str_radix(&data[14..], 16).unwrap();
        assert_eq!(refused(&window(0, valid_until + 3_600)).await, "commit_expired");
        assert_eq!(refused(&window(0, valid_until - 175)).await, "commit_expired");
        assert_eq!(refused(&window(1, valid_until)).await, "not_committed");
        assert_eq!(refused(&window(0, valid_until + 1)).await, "simulation_failed");
        let mut costlier = signed.clone();
        let limit = e2e::user::quantity(&signed, "callGasLimit") + U256::from(1);
        costlier["callGasLimit"] = json!(format!("{limit:#x}"));
        assert_eq!(refused(&costlier).await, "simulation_failed");
        assert_eq!(refused(&op).await, "not_committed", "a sequential sponsorship is none");
    });
}

#[test]
fn older_entry_points_have_no_signing_phases() {
    on_shared_stack(async |env| {
        let key = env.endpoints.secret_key.as_str();
        for wallet in [Wallet::SIMPLE_07, Wallet::SIMPLE_08] {
            let user = env.user("no-phases", wallet).await;
            let op = user.estimates().await;
            for name in ["commit", "finalize"] {
                let refused = phase(env, &user, key, name, &op).await.unwrap_err();
                assert_eq!(refused["data"]["reason"], "signing_phase_unsupported", "{refused}");
                assert_eq!(refused["code"], -32602);
            }
        }
    });
}
